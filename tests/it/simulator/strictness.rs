//! Whatever the documents don't allow is refused in the provider's own words.

use serde_json::{Value, json};

use super::{BOT, CHAT, Stage, assistant, providers, question};

/// What each provider's error must have, so that it is its own.
fn is_its_own(provider: &str, status: u16, body: &Value) -> bool {
    match provider {
        "gptunnel" => body["error"].get("param") == Some(&Value::Null) && body["error"]["type"].is_string(),
        "mygptassistants" => {
            body["success"] == false && body["data"].is_null() && body["error"]["code"].is_string()
        }
        "unleash" => body["status"] == status && body["title"].is_string() && body["requestId"].is_string(),
        "gigachat" => body["message"].is_string(),
        _ => body["error"]["message"].is_string() && body["error"]["type"].is_string(),
    }
}

#[tokio::test]
async fn only_the_documented_key_in_the_documented_form_opens() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        let (path, body) = question(provider, assistant(provider), false);
        let wrong = if provider == "gptunnel" { "Bearer sim-key" } else { "sim-key" };
        for key in [wrong, "Bearer other", ""] {
            let request = stage.client.post(format!("http://{}{path}", stage.address));
            let request = request.header("content-type", "application/json").header("authorization", key);
            let answer = stage.send(request.body(body.to_string())).await;
            assert_eq!(answer.status, 401, "{provider} took {key:?}");
            assert!(is_its_own(provider, 401, &answer.json()), "{provider}: {}", answer.text);
        }
    }
    let (path, body) = question("unleash", assistant("unleash"), false);
    let request = || {
        let request = stage.client.post(format!("http://{}{path}", stage.address)).body(body.to_string());
        request
            .header("content-type", "application/json")
            .header("authorization", "Bearer sim-key-impersonated")
    };
    let refused = stage.send(request()).await;
    assert_eq!(refused.json()["reason"], "Missing impersonation header");
    let allowed = stage.send(request().header("unleash-account", "ada@example.com")).await;
    assert_eq!(allowed.status, 200);
}

#[tokio::test]
async fn an_unknown_assistant_is_a_404_and_wrong_json_a_400() {
    let stage = Stage::open(1).await;
    for provider in providers() {
        let unknown = stage.ask(provider, "nobody", false).await;
        assert_eq!(unknown.status, 404, "{provider}");
        assert!(is_its_own(provider, 404, &unknown.json()), "{provider}: {}", unknown.text);
        let (path, body) = question(provider, assistant(provider), false);
        for broken in ["{", "[]", "\"text\"", ""] {
            let request =
                stage.request("POST", &path).header("content-type", "application/json").body(broken);
            let answer = stage.send(request).await;
            assert_eq!(answer.status, 400, "{provider} took {broken:?}");
            assert!(is_its_own(provider, 400, &answer.json()), "{provider}: {}", answer.text);
        }
        let request =
            stage.request("POST", &path).header("content-type", "text/plain").body(body.to_string());
        let label = if provider == "unleash" { 415 } else { 400 };
        assert_eq!(stage.send(request).await.status, label, "{provider}");
    }
    let error = stage.ask("gptunnel", "nobody", false).await.json();
    let documented = json!({"error": {
        "param": null, "code": null, "type": "invalid_request_error", "message": "Assistant not found",
    }});
    assert_eq!(error, documented);
    assert_eq!(stage.ask("mygptassistants", "nobody", true).await.json()["error"]["code"], "BOT_NOT_FOUND");
}

/// Replaces one member (`null` in `with` stands for null, a missing one for taking it out) and asks.
async fn refuses(stage: &Stage, provider: &str, path: &str, with: Option<Value>) {
    let (url, mut body) = question(provider, assistant(provider), false);
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match with.clone() {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    let answer = stage.post(&url, &body).await;
    assert_eq!(answer.status, 400, "{provider} took {path} = {with:?}: {}", answer.text);
    assert!(is_its_own(provider, 400, &answer.json()), "{provider}: {}", answer.text);
}

#[tokio::test]
async fn fields_are_checked() {
    let stage = Stage::open(1).await;
    for (path, with) in [
        ("/chatId", None),
        ("/chatId", Some(json!(CHAT[..23]))),
        ("/chatId", Some(json!(format!("{CHAT}x")))),
        ("/chatId", Some(json!(7))),
        ("/assistantCode", None),
        ("/message", None),
        ("/message", Some(json!(["Hello"]))),
        ("/maxContext", Some(json!("10"))),
        ("/maxContext", Some(json!(-1))),
        ("/images", Some(json!("http://example.com"))),
        ("/images", Some(json!([1]))),
        ("/stream", Some(json!("true"))),
    ] {
        refuses(&stage, "gptunnel", path, with).await;
    }
    for (path, with) in [
        ("/message", None),
        ("/message", Some(json!(7))),
        ("/conversationId", Some(json!(7))),
        ("/conversationId", Some(json!(""))),
        ("/metadata", Some(json!("a"))),
    ] {
        refuses(&stage, "mygptassistants", path, with).await;
    }
    for (path, with) in [
        ("/messages", None),
        ("/messages", Some(json!([]))),
        ("/messages/0/role", Some(json!("user"))),
        ("/messages/0/text", Some(json!(7))),
        ("/messages/0/name", Some(json!("a"))),
        ("/temperature", Some(json!(1))),
        ("/stream", Some(json!(null))),
        ("/threadId", Some(json!(7))),
        ("/enterpriseSearch", Some(json!({"filter": {}}))),
        ("/enterpriseSearch", Some(json!({"filters": {"appId": "jira"}}))),
        ("/enterpriseSearch", Some(json!({"filters": {"hasLinks": "yes"}}))),
        ("/enterpriseSearch", Some(json!({"filters": {"fromTime": 7}}))),
    ] {
        refuses(&stage, "unleash", path, with).await;
    }
    for field in ["/conversation_id", "/user_id", "/prompt"] {
        refuses(&stage, "gigachat", field, None).await;
        refuses(&stage, "gigachat", field, Some(json!(12345))).await;
    }
    for (path, with) in [
        ("/model", None),
        ("/messages", Some(json!([]))),
        ("/messages/0/role", Some(json!("User"))),
        ("/messages/0/content", Some(json!(7))),
        ("/messages/0/content", Some(json!([{"type": "audio"}]))),
        ("/stream", Some(json!(1))),
        ("/stream_options", Some(json!({}))),
        ("/tools", Some(json!([{}]))),
    ] {
        refuses(&stage, "openai", path, with).await;
    }
    let edges = [24, 36].map(|length| "x".repeat(length));
    for chat in edges {
        let body = json!({"chatId": chat, "assistantCode": "ai08158128", "message": "Hello", "own": 1});
        assert_eq!(stage.post("/gptunnel/v1/assistant/chat", &body).await.status, 200);
    }
    let path = format!("/gigachat/chatbots/{BOT}/conversation");
    assert_eq!(stage.post(&path, &json!({})).await.status, 404);
}
