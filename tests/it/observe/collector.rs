//! A collector of spans: OTLP over HTTP, as protobuf.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use http::HeaderMap;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A running collector.
pub struct Collector {
    /// `127.0.0.1:port`.
    pub address: String,
    got: Got,
    _serving: JoinSet<()>,
}

type Got = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

impl Collector {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let got = Got::default();
        let take = async |State(got): State<Got>, headers: HeaderMap, body: Bytes| {
            got.lock().unwrap().push((headers, body));
            [("content-type", "application/x-protobuf")]
        };
        let router =
            Router::new().route("/v1/traces", axum::routing::post(take)).with_state(Arc::clone(&got));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, got, _serving: serving }
    }

    /// What it was sent, as it came.
    pub fn raw(&self) -> Vec<(HeaderMap, Bytes)> {
        self.got.lock().unwrap().clone()
    }

    /// All spans so far, in the order in which they ended, with the service that sent them.
    pub fn spans(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        for (_, body) in self.raw() {
            for resource in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
                for scope in resource.scope_spans {
                    all.extend(scope.spans.into_iter().map(Seen::new));
                }
            }
        }
        all
    }
}

/// A span, read.
#[derive(Debug)]
pub struct Seen {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    pub state: String,
    /// 2: server, 3: client.
    pub kind: i32,
    pub is_error: bool,
    pub attributes: BTreeMap<String, String>,
}

impl Seen {
    fn new(span: Span) -> Self {
        let attributes = span.attributes.into_iter().map(|pair| {
            let value = match pair.value.and_then(|value| value.value) {
                Some(Value::StringValue(text)) => text,
                Some(Value::IntValue(number)) => number.to_string(),
                other => format!("{other:?}"),
            };
            (pair.key, value)
        });
        Self {
            name: span.name,
            trace: hex(&span.trace_id),
            id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            state: span.trace_state,
            kind: span.kind,
            is_error: span.status.is_some_and(|status| status.code == 2),
            attributes: attributes.collect(),
        }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
