//! The page's own server: the recipe's files, and a short-lived bearer for its visitor.

use std::path::Path;

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::smoke::program::client;

/// The server, once it has its port.
pub struct Origin {
    pub url: String,
    listener: TcpListener,
}

impl Origin {
    pub async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { url: format!("http://{}", listener.local_addr().unwrap()), listener }
    }

    /// Serves the page, for visitors who are to call this gateway.
    pub async fn serve(self, gateway: String, key: &'static str) {
        let session = move || session(gateway.clone(), key);
        let app = Router::new()
            .route("/", get(|| async { file("index.html", "text/html; charset=utf-8") }))
            .route("/chat.js", get(|| async { file("chat.js", "text/javascript; charset=utf-8") }))
            .route("/session", post(session));
        axum::serve(self.listener, app).await.unwrap();
    }
}

fn file(name: &str, media: &'static str) -> Response {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker/clients/browser");
    let text = std::fs::read_to_string(folder.join(name)).unwrap();
    ([(CONTENT_TYPE, media)], text).into_response()
}

/// What the recipe's README says that a page's server does.
async fn session(gateway: String, key: &str) -> Result<Json<Value>, StatusCode> {
    let body = json!({"user": "visitor-17", "assistants": ["docs"], "expires_in": 600});
    let request = client().post(format!("{gateway}/v1/tokens")).bearer_auth(key);
    let request = request.header("content-type", "application/json").body(body.to_string());
    let answer = request.send().await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let issued: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    Ok(Json(json!({"gateway": gateway, "assistant": "docs", "token": issued["token"]})))
}
