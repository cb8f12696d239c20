//! What the user writes: lines edited at a terminal, or the lines of a pipe.

use std::io::{BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

/// What came of asking for a line.
#[derive(Debug)]
pub(super) enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C at the prompt.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// Where lines come from.
pub(super) enum Lines {
    /// A person. None while a line is being edited.
    Terminal(Option<Box<DefaultEditor>>),
    /// A pipe or a file.
    Pipe,
}

impl Lines {
    pub(super) fn open() -> anyhow::Result<Self> {
        if std::io::stdin().is_terminal() {
            Ok(Self::Terminal(Some(Box::new(DefaultEditor::new().context("the terminal cannot be used")?))))
        } else {
            Ok(Self::Pipe)
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line. Waiting for it holds up nothing else.
    pub(super) async fn next(&mut self) -> anyhow::Result<Line> {
        match self {
            Self::Pipe => {
                tokio::task::spawn_blocking(from_pipe).await?.context("standard input cannot be read")
            }
            Self::Terminal(place) => {
                let Some(mut editor) = place.take() else { return Ok(Line::End) };
                let (editor, line) = tokio::task::spawn_blocking(move || {
                    let line = editor.readline("> ");
                    (editor, line)
                })
                .await?;
                let editor = place.insert(editor);
                match line {
                    Ok(text) => {
                        // History is a comfort: a line that cannot be kept is no failure.
                        let _ = editor.add_history_entry(&text);
                        Ok(Line::Text(text))
                    }
                    Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                    Err(ReadlineError::Eof) => Ok(Line::End),
                    Err(error) => Err(error).context("the terminal cannot be read"),
                }
            }
        }
    }
}

fn from_pipe() -> std::io::Result<Line> {
    let mut line = Vec::new();
    if std::io::stdin().lock().read_until(b'\n', &mut line)? == 0 {
        return Ok(Line::End);
    }
    // What is no UTF-8 becomes what cannot be read; the lines after it may be.
    let text = String::from_utf8_lossy(&line);
    Ok(Line::Text(text.trim_end_matches(['\n', '\r']).to_owned()))
}
