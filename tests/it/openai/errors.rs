//! Errors in OpenAI's form, wherever a request of the dialect is refused; and models.

use http::Method;
use serde_json::{Value, json};

use super::{Stage, asked, error};
use crate::gateway::{KEY, Plan, key, request};

#[tokio::test]
async fn every_refusal_is_in_openais_form() {
    let stage = Stage::open().await;
    let refused =
        |status: u16, kind: &str, code: &str, param: Value| (status, kind.to_owned(), code.to_owned(), param);
    let unknown = stage.complete(asked("nobody", false)).await;
    assert_eq!(error(&unknown), refused(404, "not_found", "assistant_not_found", json!("model")));
    let strange = stage.complete(asked("no body\n", false)).await;
    assert_eq!(error(&strange), refused(404, "not_found", "assistant_not_found", json!("model")));
    let stranger =
        request(Method::POST, "/openai/v1/chat/completions", "not-a-key", asked("docs", false).to_string());
    let stranger = stage.gateway.send(stranger).await;
    assert_eq!(error(&stranger), refused(401, "unauthorized", "invalid_key", Value::Null));
    for (body, code, param) in [
        (json!({"messages": []}), "missing_field", "model"),
        (json!({"model": "docs", "messages": []}), "invalid_value", "messages"),
        (json!({"model": "docs"}), "missing_field", "messages"),
        (json!({"model": "docs", "messages": [{"role": "user"}]}), "invalid_value", "messages[0].content"),
        (
            json!({"model": "docs", "messages": [{"role": "king", "content": "a"}]}),
            "invalid_value",
            "messages[0].role",
        ),
        (json!({"model": "docs", "messages": "hi"}), "invalid_value", "messages"),
        (
            json!({"model": "docs", "messages": [{"role": "user", "content": "a"}], "n": 0}),
            "invalid_value",
            "n",
        ),
        (
            json!({"model": "docs", "messages": [{"role": "user", "content": "a"}], "metadata": {"a": 1}}),
            "invalid_value",
            "metadata.a",
        ),
    ] {
        let answer = stage.complete(body.clone()).await;
        assert_eq!(error(&answer), refused(400, "invalid_request", code, json!(param)), "{body}");
    }
    for path in ["/openai/v1/embeddings", "/openai/v1/nothing", "/v1/models/nobody"] {
        assert_eq!(error(&stage.gateway.get(path).await).0, 404, "{path}");
    }
    assert_eq!(error(&stage.gateway.get("/v1/responses").await).0, 405);
    assert_eq!(
        stage.gateway.get("/v1/conversations/conv_1").await.code().0,
        404,
        "a native path has the native form"
    );
}

#[tokio::test]
async fn a_limited_key_is_told_when_to_come_back() {
    let limited = key("a-key-with-limits", |spec| {
        spec.limits = crate::gateway::limits(json!({"requests_per_minute": 1, "burst": 1}));
    });
    let gateway = crate::gateway::Gateway::kept(Plan { keys: vec![limited], ..Plan::default() }).await;
    let call = || request(Method::GET, "/v1/models", "a-key-with-limits", "");
    assert_eq!(gateway.send(call()).await.status, 200);
    let second = gateway.send(call()).await;
    assert_eq!((error(&second).0, error(&second).2.as_str()), (429, "key_rate_limit"));
    assert!(second.header("retry-after").is_some());
}

#[tokio::test]
async fn models_are_the_assistants_that_a_key_may_use() {
    let bound = key("a-key-for-docs-only", |spec| {
        spec.assistants = chat::AllowedAssistants::These(["docs".parse().unwrap()].into());
    });
    let stage = Stage::open().await;
    let all = stage.gateway.get("/v1/models").await.json();
    let model = |name: &str, provider: &str| json!({"id": name, "object": "model", "created": 0, "owned_by": provider});
    let expected = json!({"object": "list", "data": [model("support", "one"), model("docs", "two"), model("model", "three")]});
    assert_eq!(all, expected);
    assert_eq!(stage.gateway.get("/openai/v1/models/docs").await.json(), model("docs", "two"));
    stage.gateway.server.set_keys(vec![bound, key(KEY, |_| {})]);
    let ask = async |method, path: &str, body: &str| {
        stage.gateway.send(request(method, path, "a-key-for-docs-only", body)).await
    };
    assert_eq!(ask(Method::GET, "/v1/models", "").await.json()["data"], json!([model("docs", "two")]));
    assert_eq!(error(&ask(Method::GET, "/v1/models/support", "").await).0, 404);
    let refused = ask(Method::POST, "/v1/chat/completions", &asked("support", false).to_string()).await;
    assert_eq!((error(&refused).0, error(&refused).2.as_str()), (403, "assistant_not_allowed"));
}
