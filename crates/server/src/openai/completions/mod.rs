//! `POST /v1/chat/completions`.

pub(crate) mod answer;
pub(crate) mod ask;
pub(crate) mod chunks;
mod frame;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chat::{ErrorCode, EventRef, TurnError};
use engine::{Read, Reader, Seen};

use crate::app::App;
use crate::body::{Beside, Body, FromText};
use crate::error::{ApiError, TURN_ID, insert};
use crate::middleware::auth::Who;
use crate::openai::parameters::{self, Parameters};
use crate::openai::watch::{Watch, key_ended};
use crate::openai::{models, shape};
use ask::Wanted;
use chunks::Chunks;
use frame::Frames;

/// The fields that are honoured for every assistant.
const OWN: &[&str] = &["model", "messages", "stream", "stream_options", "n", "user", "metadata", "store"];
/// What a completion's id begins with.
const PREFIX: &str = "chatcmpl-";

/// What there is in a body beside what the gateway itself understands.
#[derive(Debug)]
pub(crate) struct Rest {
    text: Arc<str>,
    parameters: Parameters,
}

impl FromText for Rest {
    fn from_text(text: &str, fields: Option<&[(&str, &str)]>) -> Self {
        let parameters = match fields {
            Some(fields) => parameters::of_fields(fields, OWN),
            None => parameters::of_body(text, OWN),
        };
        Self { text: text.into(), parameters }
    }
}

/// What is left of a request while its answer is read.
#[derive(Debug)]
struct Asked {
    parameters: Parameters,
    /// The client's body went along as it is.
    passed_through: bool,
    include_usage: bool,
}

pub(super) async fn create(
    State(app): State<App>,
    who: Who,
    Beside(Body { value: wanted, idempotency }, Rest { text, parameters }): Beside<Wanted, Rest>,
) -> Result<Response, ApiError> {
    let view = models::asked(&app, &who, wanted.model())?;
    if !view.passes_through
        && let Some(field) = parameters.needs.first()
    {
        return Err(unsupported(&view.name, field));
    }
    let asked =
        Asked { passed_through: view.passes_through, include_usage: wanted.include_usage(), parameters };
    let mut ask = wanted.into_ask(&view, who.caller())?;
    if view.passes_through {
        let mut extension = asked.parameters.extension(text);
        extension.needs = extension.needs.or(ask.1);
        ask.0.extension = Some(extension);
    }
    let mut ask = ask.0;
    let stream = ask.stream;
    let before = match &idempotency {
        Some(idempotency) => app.engine.repeat(who.caller(), idempotency).await?,
        None => None,
    };
    let reader = match before {
        Some(reader) => reader,
        None => {
            ask.idempotency = idempotency;
            ask.lease = Some(app.counters.turn(who.key()).await?);
            app.engine.chat(who.caller(), ask).await.map_err(|refused| renamed(refused.into()))?
        }
    };
    if stream {
        piece_by_piece(&app, &who, reader, asked).await
    } else {
        whole(&app, &who, reader, asked).await
    }
}

/// The answer in one piece.
async fn whole(app: &App, who: &Who, mut reader: Reader, asked: Asked) -> Result<Response, ApiError> {
    let life = app.keys.lives.of(who.identity());
    let (mut calls, mut last) = (0, None);
    loop {
        let take = |seen: Seen<'_>| match seen {
            Seen::Frame(frame) => last = Some(frame.clone()),
            Seen::Event(_, EventRef::Progress(progress)) if frame::is_another_call(&progress.step) => {
                calls += 1
            }
            _ => {}
        };
        let read = tokio::select! {
            read = reader.follow(take) => Some(read),
            () = life.ended() => None,
        };
        match read {
            Some(Read::More) => {}
            Some(Read::Ended) => break,
            None => return Err(ApiError::of_turn(key_ended(), reader.turn_id(), reader.is_repeat())),
        }
    }
    let turn = reader.end().await;
    if let Some(error) = shape::broken(&turn) {
        return Err(ApiError::of_turn(error, reader.turn_id(), reader.is_repeat()));
    }
    // A frame of a call that failed is not the answer.
    let own = last.filter(|frame| frame.call == calls);
    let own = own.and_then(|frame| {
        let mut json = Vec::with_capacity(frame.json.len() + 64);
        Frames::new(turn.id, &turn.assistant).write(&frame.json, &mut json).then_some(json)
    });
    let mut response = match own {
        Some(json) => answer::json(json),
        None => axum::Json(answer::Completion::of(&turn)).into_response(),
    };
    let headers = response.headers_mut();
    insert(headers, TURN_ID, &turn.id.to_string());
    shape::show_model(headers, turn.model.as_deref());
    asked.show_ignored(app, &turn.assistant, headers);
    Ok(response)
}

/// The answer as a stream: once there is text, or else why there is none.
async fn piece_by_piece(app: &App, who: &Who, reader: Reader, asked: Asked) -> Result<Response, ApiError> {
    let mut watch = Watch::new(app, who, reader, Chunks::new(asked.include_usage));
    watch.begun().await?;
    let author = watch.script.author();
    let author = author.map(|(assistant, model)| (assistant.clone(), model.map(str::to_owned)));
    let mut response = watch.answer();
    if let Some((assistant, model)) = author {
        shape::show_model(response.headers_mut(), model.as_deref());
        asked.show_ignored(app, &assistant, response.headers_mut());
    }
    Ok(response)
}

impl Asked {
    /// Names the parameters that the assistant which answered has not been given.
    fn show_ignored(&self, app: &App, answered: &chat::AssistantName, headers: &mut http::HeaderMap) {
        let passes_through = || {
            let catalog = app.engine.catalog();
            catalog.assistant(answered).is_some_and(|one| one.provider.provider.passes_through())
        };
        if !self.passed_through || !passes_through() {
            self.parameters.show(headers);
        }
    }
}

fn unsupported(assistant: &chat::AssistantName, field: &str) -> ApiError {
    let message = format!("the model `{assistant}` takes no `{field}`");
    TurnError::new(ErrorCode::Unsupported, message).about(field).into()
}

/// The engine's names for fields, in this route's words.
fn renamed(error: ApiError) -> ApiError {
    error.renamed(|field| match field {
        "assistant" => Some("model"),
        "message" => Some("messages"),
        _ => None,
    })
}
