//! `switchboard chat`: a terminal client of a running gateway. It speaks the public API alone.

mod client;
mod lines;
mod screen;
mod wire;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::Address;
use crate::output;
use client::{Client, Failure, Streaming};
use lines::{Line, Lines};
use screen::Screen;

/// A stream that broke is taken up again so often …
const RESUMES_MAX: u32 = 8;
/// … with pauses that double from here.
const RESUME_AFTER: Duration = Duration::from_millis(250);

/// A terminal client. Each line of standard input is a turn.
#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Whom to ask; the first that the key may use when left out.
    #[arg(long)]
    assistant: Option<String>,
    /// The conversation to go on with.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// The key.
    #[arg(long, env = "SWITCHBOARD_KEY", hide_env_values = true, default_value = "")]
    key: String,
    #[command(flatten)]
    address: Address,
}

/// Why a failed request failed, in a sentence: the innermost cause says most.
pub(super) fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_connect() {
        "nobody answers there"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the connection broke"
    };
    format!("{what} ({cause})")
}

impl Chat {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let client = Client::new(self.address.route(""), &self.key)?;
        let mut assistant = self.assistant;
        if assistant.is_none() && self.conversation.is_none() {
            let all = client.assistants().await?;
            let Some(first) = all.first() else { bail!("this key may use no assistant") };
            output::note(&format!("Talking to `{first}`. There are: {}.", all.join(", ")));
            assistant = Some(first.clone());
        }
        let mut session = Session {
            client,
            screen: Screen::default(),
            assistant,
            conversation: self.conversation,
            failed: false,
        };
        let mut lines = Lines::open()?;
        loop {
            match lines.next().await? {
                Line::Text(text) if text.trim().is_empty() => {}
                Line::Text(text) => {
                    if session.turn(&text).await == Go::Leave {
                        break;
                    }
                }
                Line::Interrupted => output::note("Ctrl-D leaves."),
                Line::End => break,
            }
        }
        if let Some(conversation) = &session.conversation {
            output::note(&format!("To go on: switchboard chat --conversation {conversation}"));
        }
        // At a terminal the person has seen what failed; a script looks at the code.
        let failed = session.failed && !lines.is_terminal();
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}

/// Whether there is a next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Go {
    On,
    Leave,
}

/// A conversation at a terminal.
#[derive(Debug)]
struct Session {
    client: Client,
    screen: Screen,
    assistant: Option<String>,
    conversation: Option<String>,
    failed: bool,
}

impl Session {
    /// One turn: from the message to the end of the reply, whatever the connection does.
    async fn turn(&mut self, text: &str) -> Go {
        let ask = wire::Ask {
            // An assistant is named once: a conversation keeps its own.
            assistant: self.assistant.take(),
            message: text,
            conversation_id: self.conversation.as_deref(),
            stream: true,
        };
        let outcome = tokio::select! {
            outcome = self.client.ask(&ask) => outcome,
            // Before the gateway has answered there is no turn to cancel.
            _ = tokio::signal::ctrl_c() => return Go::Leave,
        };
        let assistant = ask.assistant;
        match outcome {
            Ok(streaming) => self.read(streaming).await,
            Err(failure) => {
                if self.conversation.is_none() {
                    self.assistant = assistant;
                }
                self.fail(&failure);
                Go::On
            }
        }
    }

    /// Reads a turn to its end, and takes it up again where the connection broke.
    async fn read(&mut self, mut streaming: Streaming) -> Go {
        let mut resumes = 0;
        let mut cancelled = false;
        loop {
            let event = tokio::select! {
                event = streaming.next() => event,
                _ = tokio::signal::ctrl_c() => {
                    if cancelled {
                        return Go::Leave;
                    }
                    cancelled = true;
                    if let Some(turn) = streaming.turn_id()
                        && let Err(failure) = self.client.cancel(turn).await
                    {
                        self.fail(&failure);
                    }
                    continue;
                }
            };
            match event {
                Ok(Some(event)) => {
                    resumes = 0;
                    if self.show(&event) == Shown::End {
                        return Go::On;
                    }
                }
                Ok(None) | Err(Failure::Broken(_)) => {
                    resumes += 1;
                    if resumes > RESUMES_MAX {
                        self.fail(&Failure::Broken(
                            "the stream broke and could not be taken up again".to_owned(),
                        ));
                        return Go::On;
                    }
                    tokio::time::sleep(RESUME_AFTER * 2_u32.pow(resumes.min(6) - 1)).await;
                    match self.client.resume(&streaming).await {
                        Ok(again) => streaming = again,
                        Err(Failure::Broken(_)) => {}
                        Err(failure) => {
                            self.fail(&failure);
                            return Go::On;
                        }
                    }
                }
                Err(failure) => {
                    self.fail(&failure);
                    return Go::On;
                }
            }
        }
    }

    fn show(&mut self, event: &wire::Event) -> Shown {
        match event.kind.as_str() {
            "turn.started" => {
                if let Some(id) = event.turn.as_ref().and_then(|turn| turn.conversation_id.clone()) {
                    self.conversation = Some(id);
                }
                self.screen.begin();
            }
            "turn.progress" => self.screen.progress(event),
            "turn.sources" => self.screen.sources(event.sources.as_deref().unwrap_or_default()),
            "message.delta" => self.screen.text(event.text.as_deref().unwrap_or_default()),
            "message.citation" => self.screen.citation(event.source_ids.as_deref().unwrap_or_default()),
            "message.replaced" => self.screen.replaced(event.text.as_deref().unwrap_or_default()),
            "turn.completed" | "turn.incomplete" | "turn.failed" | "turn.cancelled" => {
                if let Some(turn) = &event.turn {
                    self.failed |= turn.status != "completed";
                    self.screen.end(turn);
                }
                return Shown::End;
            }
            // A later gateway may say more: what is not known is not shown.
            _ => {}
        }
        Shown::More
    }

    fn fail(&mut self, failure: &Failure) {
        self.failed = true;
        self.screen.interrupted();
        output::problem(&failure.to_string());
    }
}

/// Whether an event was the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    More,
    End,
}
