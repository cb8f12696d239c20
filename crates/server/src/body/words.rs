//! What serde says is wrong with a body, in words for whoever wrote the body and not for whoever wrote the struct.

/// The sentence without the names of Rust's types, and without what the client sent.
pub(super) fn plain(sentence: &str) -> String {
    // From the right: what the client sent comes first, and may hold anything.
    let Some((what, expected)) = sentence.rsplit_once(", expected ") else { return sentence.to_owned() };
    if what.starts_with("unknown variant ") {
        return format!("must be {expected}");
    }
    if what.starts_with("unknown field ") {
        let known = expected.strip_prefix("one of ").unwrap_or(expected);
        return format!("{what}: known here: {known}");
    }
    if !["invalid type: ", "invalid value: ", "invalid length "].iter().any(|start| what.starts_with(start)) {
        return sentence.to_owned();
    }
    format!("must be {}", wanted(expected))
}

fn wanted(expected: &str) -> &str {
    match expected {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number from 0",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        "a borrowed string" | "string or map" | "variant identifier" => "a string",
        "a Decimal type representing a fixed-point number" => {
            "a decimal number in a string, such as \"1.50\""
        }
        _ if expected.starts_with("struct ") => "an object",
        _ => expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_rust_are_not_named() {
        for (said, told) in [
            ("invalid type: string \"x\", expected u64", "must be a whole number from 0"),
            ("invalid value: integer `-1`, expected u32", "must be a whole number from 0 to 4294967295"),
            ("invalid type: sequence, expected a map", "must be an object"),
            ("invalid type: integer `1`, expected struct Thing", "must be an object"),
            ("invalid type: map, expected a sequence", "must be an array"),
            ("invalid type: string \"a, expected b\", expected a boolean", "must be true or false"),
            ("unknown variant `x`, expected one of `a`, `b`, `c`", "must be one of `a`, `b`, `c`"),
            ("unknown variant `x`, expected `a` or `b`", "must be `a` or `b`"),
            ("unknown field `x`, expected one of `a`, `b`", "unknown field `x`: known here: `a`, `b`"),
            ("must not be empty", "must not be empty"),
            ("as was, expected long ago", "as was, expected long ago"),
        ] {
            assert_eq!(plain(said), told);
        }
    }
}
