//! The reader of event streams: whatever the bytes and however they are cut, it neither panics nor gives other frames.
//!
//! `cargo fuzz run --fuzz-dir tests/fuzz sse`; where there is only a stable toolchain, with `RUSTC_BOOTSTRAP=1`.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use upstream::sse::{Frame, FrameError, Limits, Reader};

fuzz_target!(|input: (&[u8], u8)| {
    let (text, size) = input;
    // Small enough for the fuzzer to come upon it.
    let limits = Limits { frame_bytes_max: 256 };
    let whole = read(limits, [text]);
    assert_eq!(whole, read(limits, text.chunks(usize::from(size).max(1))));
    assert!(whole.0.iter().all(|frame| frame.data.len() <= limits.frame_bytes_max));
});

fn read<'a>(limits: Limits, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = Reader::new(limits);
    let mut frames = Vec::new();
    for piece in pieces {
        reader.push(&Bytes::copy_from_slice(piece));
        if let Err(error) = drain(&mut reader, &mut frames) {
            return (frames, Some(error));
        }
    }
    reader.finish();
    let error = drain(&mut reader, &mut frames).err();
    (frames, error)
}

fn drain(reader: &mut Reader, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok(())
}
