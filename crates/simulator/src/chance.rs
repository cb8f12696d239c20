//! Numbers that look random and are the same each time: everything the simulator makes up comes from here.

/// Scrambles a number (the finisher of SplitMix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number for a list of words (FNV-1a, then scrambled). It stays the same from release to release, which the
/// standard library's hasher does not promise.
pub(crate) fn hash(seed: u64, words: &[&str]) -> u64 {
    let mut state = seed ^ 0xcbf2_9ce4_8422_2325;
    for word in words {
        for byte in word.bytes().chain([0xff]) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    mix(state)
}

/// A sequence of numbers.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The sequence that belongs to `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `sides`; 0 if there are none.
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(1);
        let sides = u64::try_from(sides).unwrap_or(u64::MAX).max(1);
        usize::try_from(mix(self.0) % sides).unwrap_or(0)
    }

    /// One of `choices`; nothing if there are none.
    pub(crate) fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices.get(self.roll(choices.len())).copied().unwrap_or_default()
    }
}

/// Twenty-four hexadecimal digits, the form of GPTunnel's ids.
pub(crate) fn hex24(number: u64) -> String {
    format!("{number:016x}{:08x}", mix(number) >> 32)
}

/// A version 4 UUID.
pub(crate) fn uuid(number: u64) -> String {
    let bytes = (u128::from(number) << 64 | u128::from(mix(number))).to_be_bytes();
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
