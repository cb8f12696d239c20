//! What the simulated assistants say: worth reading at human pace, and proof of what they were given.

mod corpus;

use crate::chance::{Dice, hash, mix};
use crate::conversations::{Remembered, Role};
use crate::faults::{Fault, Plan, Twist};

/// What an answer is made from. The same prompt gets the same answer.
#[derive(Debug)]
pub(crate) struct Prompt<'a> {
    pub(crate) seed: u64,
    pub(crate) provider: &'a str,
    pub(crate) assistant: &'a str,
    pub(crate) conversation: &'a str,
    pub(crate) message: &'a str,
    /// What the provider remembers, or was given again, oldest first.
    pub(crate) memory: &'a [Remembered],
    /// System messages.
    pub(crate) instructions: &'a [&'a str],
    pub(crate) pictures: usize,
}

impl Prompt<'_> {
    fn chance(&self) -> u64 {
        hash(self.seed, &[self.provider, self.assistant, self.conversation, self.message])
    }

    /// The answer.
    pub(crate) fn answer(&self) -> String {
        let mut dice = Dice::new(self.chance());
        let mut text = String::with_capacity(640);
        text.push_str(dice.pick(corpus::OPENINGS));
        text.push_str(&format!(" You said: «{}». ", excerpt(self.message)));
        if self.pictures > 0 {
            let noun = if self.pictures == 1 { "picture" } else { "pictures" };
            text.push_str(&format!("I was given {} {noun}. ", self.pictures));
        }
        for instruction in self.instructions {
            text.push_str(&format!("My instructions say «{}». ", excerpt(instruction)));
        }
        self.recall(&mut text);
        text.push_str("\n\n");
        let topic = dice.roll(corpus::TOPICS.len());
        for sentence in corpus::TOPICS.get(topic).copied().unwrap_or_default() {
            text.push_str(sentence);
            text.push(' ');
        }
        text.push_str("\n\n");
        text.push_str(dice.pick(corpus::CLOSINGS));
        text
    }

    /// Names how much is remembered; answers from it if it was asked to.
    fn recall(&self, text: &mut String) {
        let Some(first) = self.memory.first() else {
            text.push_str("I remember no earlier message: this is the first one that I have.");
            return;
        };
        let noun = if self.memory.len() == 1 { "message" } else { "messages" };
        let count = self.memory.len();
        text.push_str(&format!(
            "I remember {count} earlier {noun}; the first was «{}».",
            excerpt(&first.text)
        ));
        let asked = self.message.to_lowercase();
        let users = || self.memory.iter().filter(|message| message.role == Role::User);
        if ["did i say", "i said", "did i tell", "do you remember"].iter().any(|words| asked.contains(words))
        {
            if let Some(message) = users().next() {
                text.push_str(&format!(" The first thing you said was «{}».", excerpt(&message.text)));
            }
            if let Some(message) = users().next_back() {
                text.push_str(&format!(" Just before this you said «{}».", excerpt(&message.text)));
            }
        }
        let named = users().rev().find_map(|message| name_in(&message.text));
        if let (true, Some(name)) = (asked.contains("my name?") || asked.contains("my name,"), named) {
            text.push_str(&format!(" Your name is {name}."));
        }
    }
}

/// The name in "my name is …".
fn name_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("y name is ")?;
    rest.split(|letter: char| !letter.is_alphanumeric() && letter != '-')
        .next()
        .filter(|name| !name.is_empty())
}

/// The beginning of a text on one line, at most 80 characters.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short = String::new();
    let mut letters = 0;
    for word in text.split_whitespace() {
        if letters > 0 && letters < 80 {
            short.push(' ');
            letters += 1;
        }
        for letter in word.chars() {
            if letters >= 80 {
                short.push('…');
                return short;
            }
            short.push(letter);
            letters += 1;
        }
    }
    short
}

/// A simple count that is the same everywhere: one token for four characters, rounded up.
pub(crate) fn tokens(text: &str) -> u64 {
    text.chars().count().div_ceil(4) as u64
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    Filter,
}

impl Finish {
    /// OpenAI's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Filter => "content_filter",
        }
    }
}

/// An answer's text in pieces, after whatever the plan does to it.
#[derive(Debug)]
pub(crate) struct Wording {
    text: String,
    ends: Vec<usize>,
    cumulative: bool,
    revised: bool,
    /// There is no text field at all.
    pub(crate) absent: bool,
    pub(crate) finish: Finish,
}

impl Wording {
    /// Puts the answer to `prompt` into words.
    pub(crate) fn new(prompt: &Prompt<'_>, plan: &Plan) -> Self {
        let twist = match plan.fault {
            Fault::Text(twist) => Some(twist),
            _ => None,
        };
        let chance = prompt.chance();
        let mut text = match twist {
            Some(Twist::Huge(bytes)) => long(chance, bytes),
            Some(Twist::BigFrame) => long(chance, 1024 * 1024),
            Some(Twist::Empty | Twist::Absent) => String::new(),
            _ => prompt.answer(),
        };
        let finish = match twist {
            Some(Twist::Length) => Finish::Length,
            Some(Twist::Filter) => Finish::Filter,
            _ => Finish::Stop,
        };
        if finish != Finish::Stop {
            text.truncate(text.floor_char_boundary(text.len() / 2));
        }
        let ends = if twist == Some(Twist::BigFrame) { vec![text.len()] } else { pieces(&text, chance) };
        Self {
            text,
            ends,
            cumulative: twist == Some(Twist::Cumulative),
            revised: twist == Some(Twist::FinalDiffers),
            absent: twist == Some(Twist::Absent),
            finish,
        }
    }

    /// A text that no fault touches, in pieces.
    pub(crate) fn plain(text: String) -> Self {
        let ends = pieces(&text, text.len() as u64);
        Self { text, ends, cumulative: false, revised: false, absent: false, finish: Finish::Stop }
    }

    /// The text that the pieces make up.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text where the end of a stream repeats all of it.
    pub(crate) fn repeated(&self) -> String {
        if self.revised { format!("On second thoughts: {}", self.text) } else { self.text.clone() }
    }

    /// The pieces, each a few words; cumulative if the plan says so.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.ends
            .iter()
            .zip(starts)
            .filter_map(move |(end, start)| self.text.get(if self.cumulative { 0 } else { start }..*end))
    }
}

/// Where the pieces of a text end: after one to three words each.
fn pieces(text: &str, chance: u64) -> Vec<usize> {
    let mut ends = Vec::with_capacity(text.len() / 12 + 1);
    let (mut end, mut left) = (0, 1 + mix(chance) % 3);
    for word in text.split_inclusive(' ') {
        end += word.len();
        left -= 1;
        if left == 0 {
            ends.push(end);
            left = 1 + mix(chance ^ end as u64) % 3;
        }
    }
    if ends.last() != Some(&end) && end > 0 {
        ends.push(end);
    }
    ends
}

/// A text of exactly `bytes` bytes.
fn long(chance: u64, bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 1_024);
    let mut dice = Dice::new(chance);
    while text.len() < bytes {
        let topic = dice.roll(corpus::TOPICS.len());
        for sentence in corpus::TOPICS.get(topic).copied().unwrap_or_default() {
            text.push_str(sentence);
            text.push(' ');
        }
    }
    text.truncate(text.floor_char_boundary(bytes));
    // A character of several bytes may have stood across the end.
    text.extend(std::iter::repeat_n('.', bytes - text.len()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt<'a>(message: &'a str, memory: &'a [Remembered]) -> Prompt<'a> {
        Prompt {
            seed: 1,
            provider: "p",
            assistant: "a",
            conversation: "c",
            message,
            memory,
            instructions: &[],
            pictures: 0,
        }
    }

    #[test]
    fn the_same_prompt_gets_the_same_answer_and_names_what_it_remembers() {
        let memory = [
            Remembered { role: Role::User, text: "Hi, my name is Ada.".into() },
            Remembered { role: Role::Assistant, text: "Hello!".into() },
        ];
        let first = prompt("What did I say first?", &[]).answer();
        assert_eq!(first, prompt("What did I say first?", &[]).answer());
        assert!(first.contains("I remember no earlier message"));
        let later = prompt("What did I say first, and what is my name?", &memory).answer();
        assert!(later.contains("I remember 2 earlier messages; the first was «Hi, my name is Ada.»."));
        assert!(later.contains("The first thing you said was «Hi, my name is Ada.»."));
        assert!(later.contains("Your name is Ada."));
        assert_ne!(first, Prompt { seed: 2, ..prompt("What did I say first?", &[]) }.answer());
    }

    #[test]
    fn pieces_make_up_the_text() {
        let memory = [];
        let prompt = prompt("Hello", &memory);
        let plain = Wording::new(&prompt, &Plan::default());
        assert_eq!(plain.pieces().collect::<String>(), plain.text());
        assert!(plain.pieces().count() > 20);
        let plan = |id| Plan::parse("p", &[], id).unwrap();
        let cumulative = Wording::new(&prompt, &plan("fault-cumulative"));
        assert_eq!(cumulative.pieces().last(), Some(plain.text()));
        assert_eq!(Wording::new(&prompt, &plan("fault-huge-5000")).text().len(), 5_000);
        assert_eq!(Wording::new(&prompt, &plan("fault-big-frame")).pieces().count(), 1);
        assert_eq!(Wording::new(&prompt, &plan("fault-empty-text")).pieces().count(), 0);
        assert_eq!(excerpt(&"ab ".repeat(60)).chars().count(), 81);
    }
}
