//! Spans to a collector, as OTLP over HTTP. Off without an endpoint: then no span is made at all.
//!
//! A thread of the exporter's own sends them in batches; a collector that is slow or gone costs spans, never a request.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use tracing::Span;
use tracing_opentelemetry::{OpenTelemetryLayer, OpenTelemetrySpanExt as _};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How long a collector has to take a batch.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last batches may take when the process leaves.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Where collectors take spans, below the endpoint.
const PATH: &str = "/v1/traces";

/// The way to a collector.
#[derive(Debug)]
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    /// Opens the way; nothing is sent before there are spans.
    ///
    /// # Errors
    /// The endpoint is no URL, or no client can be made.
    pub(crate) fn open(endpoint: &SecretString) -> anyhow::Result<Self> {
        let endpoint = endpoint.expose_secret().to_owned();
        // The exporter's client blocks, which a thread of the runtime must not.
        let made = std::thread::spawn(move || exporter(&endpoint)).join();
        let exporter = made.map_err(|_| anyhow!("the exporter of spans could not be made"))??;
        let resource = Resource::builder()
            .with_service_name("switchboard")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self(SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build()))
    }

    /// What takes the spans out of the process's tracing.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + Send + Sync + use<S>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer: OpenTelemetryLayer<S, SdkTracer> = tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("switchboard"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        layer.with_filter(Targets::new().with_target(engine::SPANS, tracing::Level::INFO))
    }

    /// Sends what is left, within a bound.
    pub(crate) async fn flush(self) {
        let sending = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(FLUSH_MAX));
        // A little more than what the exporter was given: it is to say itself that it failed.
        match tokio::time::timeout(FLUSH_MAX + Duration::from_secs(1), sending).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(%error, "the last spans could not be sent"),
            Ok(Err(_)) | Err(_) => tracing::warn!("the last spans could not be sent in time"),
        }
    }
}

fn exporter(endpoint: &str) -> anyhow::Result<SpanExporter> {
    let mut url = Url::parse(endpoint).context("`observability.otlp_endpoint` is not a URL")?;
    let mut headers = HashMap::new();
    // A password in the URL would stand in every line that says that a collector is gone.
    if !url.username().is_empty() || url.password().is_some() {
        let pair = format!("{}:{}", url.username(), url.password().unwrap_or_default());
        headers.insert("authorization".to_owned(), format!("Basic {}", STANDARD.encode(pair)));
        // They fail for URLs without a host alone, which have no user.
        let _ = (url.set_username(""), url.set_password(None));
    }
    if !url.path().ends_with(PATH) {
        let path = format!("{}{PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    let client = reqwest::blocking::Client::builder()
        .timeout(EXPORT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // As with providers: what the environment says of proxies is not for us.
        .no_proxy()
        .build()
        .context("there is no client for spans")?;
    SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(url)
        .with_headers(headers)
        .with_timeout(EXPORT_TIMEOUT)
        .build()
        .context("spans cannot be sent")
}

/// Makes a caller's trace the span's own, where its headers name one.
pub(crate) fn adopt(span: &Span, headers: &HeaderMap) {
    let context = TraceContextPropagator::new().extract(&Given(headers));
    if context.span().span_context().is_valid() {
        // A span that nobody keeps has no trace to join.
        let _ = span.set_parent(context);
    }
}

/// The headers by which a span's trace goes on elsewhere.
pub(crate) fn headers(span: &Span) -> Vec<(&'static str, String)> {
    let mut told = Told(Vec::new());
    TraceContextPropagator::new().inject_context(&span.context(), &mut told);
    told.0
}

/// A request's headers.
struct Given<'a>(&'a HeaderMap);

impl Extractor for Given<'_> {
    /// A header that is there twice says nothing.
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        values.next().filter(|_| values.next().is_none())?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(http::HeaderName::as_str).collect()
    }
}

/// A call's headers.
struct Told(Vec<(&'static str, String)>);

impl Injector for Told {
    fn set(&mut self, key: &str, value: String) {
        let known = ["traceparent", "tracestate"].into_iter().find(|known| *known == key);
        if let Some(name) = known.filter(|_| !value.is_empty()) {
            self.0.push((name, value));
        }
    }
}
