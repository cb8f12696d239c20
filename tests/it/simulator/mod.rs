//! The simulator against the documents it plays: as a client sees it, on real sockets.
#![cfg(test)]

mod documents;
mod faults;
mod memory;
mod strictness;

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Journal, Options, Pace};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A chat id of the documents.
const CHAT: &str = "a11e52c2-5ecc-4d86-a9fa-0cac92414a72";

/// gigachat.ai's bot of the documents.
const BOT: &str = "8fb205e5-ff46-4bf6-9d7b-4d770935a486";

/// A running simulator; it ends with the test.
struct Stage {
    address: String,
    journal: Journal,
    client: reqwest::Client,
    _serving: JoinSet<()>,
}

/// What came back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The data of each event, by the plainest reading: one `data: ` line an event.
    fn events(&self) -> Vec<Value> {
        let data = self.text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }
}

impl Stage {
    async fn open(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let journal = simulator::journal();
        let options = Options { seed, pace: Pace::Instant, journal: journal.clone() };
        let mut serving = JoinSet::new();
        serving.spawn(simulator::serve(listener, options, std::future::pending::<()>()));
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        Self { address, journal, client, _serving: serving }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let key = if path.starts_with("/gptunnel") { "sim-key" } else { "Bearer sim-key" };
        let method = method.parse().unwrap();
        self.client.request(method, format!("http://{}{path}", self.address)).header("authorization", key)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let request = self.request("POST", path).header("content-type", "application/json");
        self.send(request.body(body.to_string())).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// Asks an assistant of a provider for a stream or not, with a documented request.
    async fn ask(&self, provider: &str, id: &str, stream: bool) -> Answer {
        let (path, body) = question(provider, id, stream);
        self.post(&path, &body).await
    }

    /// The same over a bare socket, which is left to the caller.
    async fn dial(&self, provider: &str, id: &str, stream: bool) -> TcpStream {
        let (path, body) = question(provider, id, stream);
        let key = if provider == "gptunnel" { "sim-key" } else { "Bearer sim-key" };
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: simulator\r\nauthorization: {key}\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = TcpStream::connect(&self.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }
}

/// A documented request: path and body.
fn question(provider: &str, id: &str, stream: bool) -> (String, Value) {
    match provider {
        "gptunnel" => (
            "/gptunnel/v1/assistant/chat".to_owned(),
            json!({"chatId": CHAT, "assistantCode": id, "message": "Hello", "stream": stream}),
        ),
        "mygptassistants" => {
            let way = if stream { "stream" } else { "message" };
            (format!("/mygptassistants/api/v1/chat/{id}/{way}"), json!({"message": "Hello"}))
        }
        "unleash" => (
            "/unleash/chats".to_owned(),
            json!({"messages": [{"text": "Hello", "role": "User"}], "assistantId": id, "stream": stream}),
        ),
        "gigachat" => {
            // Whether this one streams is said by the id alone.
            let id = if stream { format!("{id}+shape-openai-chunks") } else { id.to_owned() };
            (
                format!("/gigachat/chatbots/{id}/conversations"),
                json!({"conversation_id": "12345", "user_id": "user@example.com", "prompt": "Hello"}),
            )
        }
        _ => (
            "/openai/v1/chat/completions".to_owned(),
            json!({"model": id, "messages": [{"role": "user", "content": "Hello"}], "stream": stream}),
        ),
    }
}

/// A wait that says where it stood, instead of a test that never ends.
async fn in_time<T>(waited_for: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), waited_for).await.expect("nothing came")
}

/// Reads until the other side ends; whether it did so by a reset comes second.
async fn read_out(mut socket: TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    match in_time(socket.read_to_end(&mut bytes)).await {
        Ok(_) => (bytes, false),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => (bytes, true),
        Err(error) => panic!("{error}"),
    }
}

/// Reads until `wanted` has come.
async fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if text.contains(wanted) {
            return text.into_owned();
        }
        let read = in_time(socket.read_buf(&mut bytes)).await.unwrap();
        assert!(read > 0, "ended without {wanted:?}: {}", String::from_utf8_lossy(&bytes));
    }
}

/// All providers.
fn providers() -> impl Iterator<Item = &'static str> {
    simulator::PROVIDERS.iter().map(|provider| provider.name)
}

/// An assistant that a provider always has.
fn assistant(provider: &str) -> &'static str {
    simulator::PROVIDERS.iter().find(|known| known.name == provider).unwrap().assistants[0]
}
