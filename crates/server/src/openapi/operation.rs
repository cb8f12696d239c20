//! One operation of the API, as the document has it.

use chat::ErrorCode;
use chat::ErrorCode as E;
use serde_json::{Map, Value, json};

use super::errors;
use crate::openai::Dialect;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Clients with a key.
    Clients,
    /// Admins, at their own listener.
    Admins,
    /// Anybody, at the clients' listener.
    Open,
    /// Anybody, at the admins' listener.
    OpenToAdmins,
}

/// An operation that is being described.
pub(super) struct Operation {
    pub(super) path: String,
    pub(super) method: String,
    pub(super) id: String,
    pub(super) door: Door,
    tag: &'static str,
    summary: &'static str,
    description: &'static str,
    parameters: Vec<Value>,
    body: Option<(Value, bool)>,
    answers: Vec<(u16, Value)>,
    errors: Vec<ErrorCode>,
    form: Dialect,
    about_turn: bool,
    headers: Vec<&'static str>,
    links: Map<String, Value>,
}

/// `GET /path`, its id, and who may call.
pub(super) fn operation(route: &str, id: &str, tag: &'static str, door: Door) -> Operation {
    let (method, path) = route.split_once(' ').unwrap_or(("GET", route));
    let form = Dialect::of(path);
    let errors: &[ErrorCode] = match door {
        Door::Clients => &[E::KeyRateLimit, E::Overloaded],
        Door::Open => &[E::Overloaded],
        Door::Admins => &[E::AdminOnly],
        Door::OpenToAdmins => &[],
    };
    let known: &[ErrorCode] = match door {
        Door::Clients | Door::Admins => {
            &[E::MissingKey, E::InvalidKey, E::ExpiredKey, E::ForbiddenHost, E::StoreUnavailable]
        }
        Door::Open | Door::OpenToAdmins => &[],
    };
    // OpenAI's dialect lets parameters pass that it does not know.
    let strict = form == Dialect::Native && matches!(door, Door::Clients | Door::Admins);
    let query = if strict { errors::QUERY } else { &[] };
    Operation {
        path: path.to_owned(),
        method: method.to_owned(),
        id: id.to_owned(),
        door,
        tag,
        summary: "",
        description: "",
        parameters: Vec::new(),
        body: None,
        answers: Vec::new(),
        errors: [errors, known, query, &[E::Internal]].concat(),
        form,
        about_turn: false,
        headers: Vec::new(),
        links: Map::new(),
    }
}

impl Operation {
    /// What it does: in a line, and at length.
    pub(super) fn does(mut self, summary: &'static str, description: &'static str) -> Self {
        (self.summary, self.description) = (summary, description);
        self
    }

    /// A parameter in the path.
    pub(super) fn path(mut self, name: &str, schema: Value, error: ErrorCode) -> Self {
        self.errors.push(error);
        self.parameters.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
        self
    }

    /// A parameter behind the `?`.
    pub(super) fn query(mut self, name: &str, description: &str, schema: Value) -> Self {
        self.parameters
            .push(json!({"name": name, "in": "query", "description": description, "schema": schema}));
        self.errors.push(E::InvalidValue);
        self
    }

    /// The same, where it must be given.
    pub(super) fn required_query(mut self, name: &str, description: &str, schema: Value) -> Self {
        let parameter = json!({"name": name, "in": "query", "required": true, "description": description, "schema": schema});
        self.parameters.push(parameter);
        self
    }

    /// A parameter that several operations share.
    pub(super) fn shared(mut self, name: &str) -> Self {
        self.parameters.push(json!({"$ref": format!("#/components/parameters/{name}")}));
        self
    }

    /// `limit` and `cursor`.
    pub(super) fn paged(self) -> Self {
        self.shared("limit").shared("cursor")
    }

    /// A JSON body.
    pub(super) fn body(mut self, schema: Value) -> Self {
        self.body = Some((schema, true));
        let strict = self.form == Dialect::Native;
        self.errors.extend(errors::BODY.iter().filter(|code| strict || **code != E::UnknownField));
        self.errors.extend([E::BodyTooLarge, E::UnsupportedMediaType]);
        self
    }

    /// A JSON body that may be left out.
    pub(super) fn optional_body(self, schema: Value) -> Self {
        let mut this = self.body(schema);
        this.body = this.body.map(|(schema, _)| (schema, false));
        this
    }

    /// `Idempotency-Key`.
    pub(super) fn repeatable(mut self) -> Self {
        self.errors.push(E::IdempotencyConflict);
        self.shared("Idempotency-Key")
    }

    /// A good answer of JSON.
    pub(super) fn json(self, status: u16, description: &str, schema: Value) -> Self {
        self.content(status, description, "application/json", json!({"schema": schema}))
    }

    /// A good answer with content of any sort; one more sort where the status has one already.
    pub(super) fn content(mut self, status: u16, description: &str, media: &str, content: Value) -> Self {
        let known = self.answers.iter_mut().find(|(known, _)| *known == status);
        match known.and_then(|(_, answer)| answer.get_mut("content")?.as_object_mut()) {
            Some(all) => {
                all.insert(media.to_owned(), content);
            }
            None => {
                self.answers.push((status, json!({"description": description, "content": {media: content}})));
            }
        }
        self
    }

    /// A good answer without a body.
    pub(super) fn empty(mut self, status: u16, description: &str) -> Self {
        self.answers.push((status, json!({"description": description})));
        self
    }

    /// Answers and errors name their turn in `x-turn-id`.
    pub(super) fn about_turn(mut self) -> Self {
        self.about_turn = true;
        self
    }

    /// A header of good answers.
    pub(super) fn header(mut self, name: &'static str) -> Self {
        self.headers.push(name);
        self
    }

    /// Operations that take the id in a good answer's body as this parameter.
    pub(super) fn leads_to(mut self, parameter: &str, operations: &[impl AsRef<str>]) -> Self {
        for operation in operations {
            let operation = operation.as_ref();
            let link = json!({"operationId": operation, "parameters": {parameter: "$response.body#/id"}});
            self.links.insert(operation.to_owned(), link);
        }
        self
    }

    /// What else can go wrong.
    pub(super) fn fails(mut self, codes: &[ErrorCode]) -> Self {
        self.errors.extend(codes);
        self
    }

    /// The operation object.
    pub(super) fn into_json(self) -> Value {
        let limited = self.door == Door::Clients;
        let mut responses = Map::new();
        for (status, mut answer) in self.answers {
            let mut headers = Map::new();
            for (name, wanted) in [
                ("x-request-id", true),
                ("x-turn-id", self.about_turn),
                ("ratelimit-policy", limited),
                ("ratelimit", limited),
            ] {
                if wanted {
                    headers.insert(name.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
                }
            }
            for name in &self.headers {
                headers.insert((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
            }
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("headers".to_owned(), headers.into());
                if !self.links.is_empty() {
                    answer.insert("links".to_owned(), self.links.clone().into());
                }
            }
            responses.insert(status.to_string(), answer);
        }
        responses.extend(errors::responses(&self.errors, self.form, self.about_turn, limited));
        responses.insert("431".to_owned(), json!({"$ref": "#/components/responses/HeadersTooLarge"}));
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "description": self.description,
            "parameters": self.parameters,
        });
        if let Some(operation) = operation.as_object_mut() {
            operation.retain(|_, value| value != "");
            if let Some((schema, required)) = self.body {
                let content = json!({"application/json": {"schema": schema}});
                operation.insert("requestBody".to_owned(), json!({"required": required, "content": content}));
            }
            operation.insert("responses".to_owned(), responses.into());
            if matches!(self.door, Door::Open | Door::OpenToAdmins) {
                operation.insert("security".to_owned(), json!([]));
            }
        }
        operation
    }
}
