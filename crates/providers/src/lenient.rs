//! JSON as providers really write it.

use serde::de::DeserializeOwned;

/// Reads JSON; where it is none, reads it again with trailing commas left out (one provider's samples have them).
///
/// # Errors
/// It is no JSON either way, or not of this shape: the first reading's error.
pub(crate) fn from_slice<T: DeserializeOwned>(json: &[u8]) -> Result<T, serde_json::Error> {
    let json = json.strip_prefix(b"\xef\xbb\xbf").unwrap_or(json);
    serde_json::from_slice(json).or_else(|error| {
        if error.is_data() {
            return Err(error);
        }
        serde_json::from_slice(&without_trailing_commas(json)).map_err(|_| error)
    })
}

fn without_trailing_commas(json: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(json.len());
    // Where a comma stands in `clean` with nothing but blanks after it.
    let mut comma = None;
    let mut in_string = false;
    let mut escaped = false;
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'}' | b']' => {
                    if let Some(place) = comma.take() {
                        clean.truncate(place);
                    }
                }
                b',' => comma = Some(clean.len()),
                b' ' | b'\t' | b'\r' | b'\n' => {}
                _ => {
                    comma = None;
                    in_string = byte == b'"';
                }
            }
        }
        clean.push(byte);
    }
    clean
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn trailing_commas_are_forgiven() {
        let read = |text: &str| from_slice::<Value>(text.as_bytes());
        assert_eq!(
            read("{\"a\": [1, 2,\n], \"b\": \",}\\\",]\" , }").unwrap(),
            json!({"a": [1, 2], "b": ",}\",]"})
        );
        assert_eq!(read("\u{feff}{}").unwrap(), json!({}));
        assert!(read("{\"a\": 1").is_err());
        assert!(read("").is_err());
        assert!(read("<html>").is_err());
    }
}
