//! Nothing of another tenant, or of another user of a browser's token, is seen or changed, by any route.
//!
//! The routes are read from the sources: a new one is tried here as soon as it is there.

use std::collections::{BTreeMap, BTreeSet};

use chat::Permission;
use http::Method;
use serde_json::{Value, json};

use crate::gateway::{Answer, Gateway, KEY, Plan, key, request};

/// What the victim said, and stands nowhere else.
const SAID: &str = "plover-9731";
const STRANGER: &str = "another-tenants-key";

/// Every route of the clients' listener: path and methods.
fn routes() -> BTreeSet<(String, Method)> {
    let read = |name: &str| {
        let path = format!("{}/../crates/server/src/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let native = read("routes/mod.rs");
    let native = native.split("fn admins(").next().unwrap();
    let dialect = read("openai/mod.rs");
    let (both, own) = dialect.split_once("let own =").unwrap();
    let mut all = BTreeSet::new();
    for (source, roots) in [(native, &[""][..]), (both, &["", "/openai"]), (own, &["/openai"])] {
        for route in source.split(".route(").skip(1) {
            let route = route.split(';').next().unwrap();
            let path = route.split('"').nth(1).unwrap();
            for method in [Method::GET, Method::POST, Method::PATCH, Method::PUT, Method::DELETE] {
                let word = method.as_str().to_lowercase();
                if route.contains(&format!("{word}(")) {
                    all.extend(roots.iter().map(|root| (format!("{root}{path}"), method.clone())));
                }
            }
        }
    }
    assert!(all.len() > 40, "{all:?}");
    all
}

/// The victim's things, by what stands for them in a request.
type Ids = BTreeMap<&'static str, String>;

/// A body for a route; none where it takes none.
fn body(path: &str, method: &Method) -> Option<Value> {
    let message = json!([{"role": "user", "content": "hi"}]);
    let item = json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]});
    Some(match (method.as_str(), path.trim_start_matches("/openai")) {
        ("POST", "/v1/chat") => json!({"conversation_id": "{conversation}", "message": "hi"}),
        ("POST", "/v1/chat/completions") => json!({"model": "support", "messages": message}),
        ("POST", "/v1/responses") => {
            json!({"model": "support", "input": "hi", "previous_response_id": "{response}"})
        }
        ("POST", "/v1/conversations") if path.starts_with("/openai") => json!({"items": [item]}),
        ("POST", "/v1/conversations") => json!({"assistant": "support"}),
        ("PATCH", "/v1/conversations/{id}") => json!({"title": "mine now"}),
        ("POST", "/v1/conversations/{id}") => json!({"metadata": {"mine": "now"}}),
        ("POST", "/v1/conversations/{id}/messages") => json!({"role": "user", "text": "hi"}),
        ("POST", "/v1/conversations/{id}/items") => json!({"items": [item]}),
        ("POST", "/v1/conversations/{id}/fork") => json!({"message_id": "{message}"}),
        ("POST", "/v1/tokens") => json!({"user": "ann", "expires_in": 60}),
        ("POST", path) if path.ends_with("/cancel") || path.ends_with("/sync") => return None,
        ("GET" | "DELETE", _) => return None,
        (method, path) => panic!("tell this test what is sent to {method} {path}"),
    })
}

fn filled(text: &str, ids: &Ids) -> String {
    ids.iter().fold(text.to_owned(), |text, (name, id)| text.replace(&format!("{{{name}}}"), id))
}

/// A path with what its parameters stand for.
fn named(path: &str) -> String {
    let id = if path.contains("/responses/") { "{response}" } else { "{conversation}" };
    path.replace("{id}", id)
        .replace("{turn_id}", "{turn}")
        .replace("{item}", "{message}")
        .replace("{name}", "support")
}

async fn ask(gateway: &Gateway, credential: &str, path: &str, method: &Method, ids: &Ids) -> Answer {
    let body = body(path, method).map(|body| filled(&body.to_string(), ids));
    let path = filled(&named(path), ids);
    gateway.send(request(method.clone(), &path, credential, body.unwrap_or_default())).await
}

/// What an answer says, but for the names that were asked for and the request's own.
fn blotted(answer: &Answer, ids: &Ids) -> (u16, String) {
    let id = answer.header("x-request-id").unwrap();
    let text = ids.iter().fold(answer.text.replace(id, "R"), |text, (name, id)| text.replace(id, name));
    (answer.status.as_u16(), text)
}

async fn victims(gateway: &Gateway) -> Ids {
    let mut asked = request(
        Method::POST,
        "/v1/chat",
        KEY,
        json!({"assistant": "support", "message": SAID, "user": "ann"}).to_string(),
    );
    asked.headers_mut().insert("idempotency-key", "the-same".parse().unwrap());
    let turn = gateway.send(asked).await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (turn, conversation) = (text(&turn["id"]), text(&turn["conversation_id"]));
    let titled = json!({"title": SAID, "metadata": {"secret": SAID}}).to_string();
    gateway.send(request(Method::PATCH, &format!("/v1/conversations/{conversation}"), KEY, titled)).await;
    let messages = gateway.get(&format!("/v1/conversations/{conversation}/messages")).await.json();
    let message = text(&messages["data"][0]["id"]);
    let response = turn.replace("turn_", "resp_");
    gateway.post("/v1/chat", json!({"assistant": "support", "message": SAID, "user": "ann"})).await;
    [("turn", turn), ("conversation", conversation), ("message", message), ("response", response)].into()
}

/// All that the victim sees.
async fn seen_by_the_victim(gateway: &Gateway, ids: &Ids) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in [
        "/v1/chat/{turn}",
        "/v1/conversations/{conversation}",
        "/v1/conversations/{conversation}/messages",
        "/v1/conversations?user=ann",
    ] {
        let answer = gateway.get(&filled(path, ids)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.text.contains(SAID), "{path}");
        seen.push(answer.json());
    }
    seen
}

async fn gateway() -> Gateway {
    let issuer = key(KEY, |spec| spec.may = [Permission::Tokens].into_iter().collect());
    let stranger = key(STRANGER, |spec| {
        spec.tenant = "strangers".parse().unwrap();
        spec.may = Permission::ALL.iter().copied().collect();
    });
    Gateway::kept(Plan { keys: vec![issuer, stranger], ..Plan::default() }).await
}

async fn token(gateway: &Gateway, user: &str) -> String {
    let answer = gateway.post("/v1/tokens", json!({"user": user, "expires_in": 600})).await;
    answer.json()["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn by_no_route_is_anything_seen_or_changed() {
    let gateway = gateway().await;
    let ids = victims(&gateway).await;
    let before = seen_by_the_victim(&gateway, &ids).await;
    // Ids like the victim's that nobody has.
    let nobodys: Ids =
        ids.iter().map(|(name, id)| (*name, format!("{}{}", &id[..id.len() - 8], "0badc0de"))).collect();
    let first = gateway.get("/v1/conversations?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().unwrap().to_owned();
    for attacker in [STRANGER.to_owned(), token(&gateway, "bob").await] {
        for (path, method) in routes() {
            let answer = ask(&gateway, &attacker, &path, &method, &ids).await;
            let what = format!("{method} {path}: {} {}", answer.status, answer.text);
            assert!(!answer.status.is_server_error() && answer.status != 401, "{what}");
            assert!(!answer.text.contains(SAID), "{what}");
            let names_things = path.contains("{") && !path.contains("{name}")
                || body(&path, &method).is_some_and(|body| body.to_string().contains("{"))
                    && ["/v1/chat", "/v1/responses", "/openai/v1/responses"].contains(&path.as_str());
            if names_things {
                assert!(answer.status.is_client_error(), "{what}");
                let nothing = ask(&gateway, &attacker, &path, &method, &nobodys).await;
                assert_eq!(blotted(&answer, &ids), blotted(&nothing, &nobodys), "{method} {path}");
            } else {
                assert!(ids.values().all(|id| !answer.text.contains(id.as_str())), "{what}");
            }
            for query in ["user=ann", &format!("q={SAID}"), &format!("cursor={cursor}"), "after={message}"] {
                if method != Method::GET {
                    continue;
                }
                let asked = filled(&format!("{}?{query}", named(&path)), &ids);
                let answer = gateway.send(request(Method::GET, &asked, &attacker, "")).await;
                assert!(!answer.text.contains(SAID), "{asked}: {}", answer.text);
                assert!(!answer.status.is_server_error(), "{asked}: {}", answer.text);
            }
        }
        let all = request(Method::DELETE, "/v1/conversations?user=ann", &attacker, "");
        let deleted = gateway.send(all).await;
        assert!(deleted.status == 403 || deleted.json()["deleted"] == 0, "{}", deleted.text);
    }
    assert_eq!(seen_by_the_victim(&gateway, &ids).await, before);
}

#[tokio::test]
async fn the_same_idempotency_key_is_another_ones_own() {
    let gateway = gateway().await;
    let ids = victims(&gateway).await;
    for (attacker, user) in [(STRANGER.to_owned(), Some("ann")), (token(&gateway, "bob").await, None)] {
        for message in [SAID, "something else"] {
            let mut body = json!({"assistant": "support", "message": message});
            if let Some(user) = user {
                body["user"] = user.into();
            }
            let mut asked = request(Method::POST, "/v1/chat", &attacker, body.to_string());
            asked.headers_mut().insert("idempotency-key", "the-same".parse().unwrap());
            let answer = gateway.send(asked).await;
            // His own first request with that key; the second is in conflict with it, not with the victim's.
            let expected = if message == SAID { 200 } else { 409 };
            assert_eq!(answer.status, expected, "{}", answer.text);
            assert!(ids.values().all(|id| !answer.text.contains(id.as_str())), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_token_sees_its_own_users_conversations() {
    let gateway = gateway().await;
    let ids = victims(&gateway).await;
    let own = token(&gateway, "ann").await;
    for path in [
        "/v1/chat/{turn}",
        "/v1/conversations/{conversation}",
        "/v1/conversations",
        "/v1/responses/{response}",
    ] {
        let answer = gateway.send(request(Method::GET, &filled(path, &ids), &own, "")).await;
        assert!(answer.status == 200 && answer.text.contains(SAID), "{path}: {}", answer.text);
    }
}
