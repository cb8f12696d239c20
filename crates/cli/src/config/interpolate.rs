//! `${NAME}` and `${NAME:-default}` in strings, taken from the environment.

use super::problem::nearest;

/// Where variables come from: the process's environment, or a test's.
pub trait Environment {
    /// A variable's value; none when it is not set.
    fn value(&self, name: &str) -> Option<String>;

    /// The names of all variables, to find the one that was meant.
    fn names(&self) -> Vec<String>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub struct Process;

impl Environment for Process {
    #[expect(clippy::disallowed_methods, reason = "this is the configuration's look into the environment")]
    fn value(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }
}

/// A string with its variables filled in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filled {
    pub(crate) text: String,
    /// Whether anything was filled in: then the text may stand for a number or a flag.
    pub(crate) from_environment: bool,
}

/// Fills in the variables of a string. `$${` stands for a plain `${`.
///
/// # Errors
/// A sentence for each variable that is not set or cannot be read.
pub(crate) fn fill(text: &str, environment: &dyn Environment) -> Result<Filled, Vec<String>> {
    let mut filled = Filled { text: String::with_capacity(text.len()), from_environment: false };
    let mut wrong = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            filled.text.push_str(before);
            filled.text.push_str("${");
            rest = after;
            continue;
        }
        filled.text.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            wrong.push("`${` without `}`".to_owned());
            rest = "";
            break;
        };
        match variable(inside, environment) {
            Ok(value) => filled.text.push_str(&value),
            Err(problem) => wrong.push(problem),
        }
        filled.from_environment = true;
        rest = after;
    }
    filled.text.push_str(rest);
    if wrong.is_empty() { Ok(filled) } else { Err(wrong) }
}

fn variable(inside: &str, environment: &dyn Environment) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name {
        return Err(format!("`${{{name}}}` is not the name of a variable: letters, digits and `_`"));
    }
    match (environment.value(name), default) {
        // As in a shell, `:-` also stands in for an empty variable.
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => {
            let names = environment.names();
            let near = nearest(name, names.iter().map(String::as_str));
            let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Err(format!("the environment variable `{name}` is not set{near}"))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A test's environment.
    #[derive(Debug)]
    pub(crate) struct Fixed(pub(crate) &'static [(&'static str, &'static str)]);

    impl Environment for Fixed {
        fn value(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }

        fn names(&self) -> Vec<String> {
            self.0.iter().map(|(name, _)| (*name).to_owned()).collect()
        }
    }

    const ENVIRONMENT: Fixed = Fixed(&[("API_KEY", "abc"), ("EMPTY", "")]);

    #[test]
    fn variables_and_defaults_are_filled_in() {
        let cases = [
            ("plain", "plain"),
            ("${API_KEY}", "abc"),
            ("a${API_KEY}b${API_KEY}", "aabcbabc"),
            ("${NONE:-x y}", "x y"),
            ("${EMPTY:-x}", "x"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("$${API_KEY}", "${API_KEY}"),
            ("$5 }", "$5 }"),
        ];
        for (text, expected) in cases {
            assert_eq!(fill(text, &ENVIRONMENT).unwrap().text, expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let wrong = fill("${API_KEZ} ${a b} ${open", &ENVIRONMENT).unwrap_err();
        assert_eq!(
            wrong,
            [
                "the environment variable `API_KEZ` is not set; did you mean `API_KEY`?",
                "`${a b}` is not the name of a variable: letters, digits and `_`",
                "`${` without `}`",
            ]
        );
    }
}
