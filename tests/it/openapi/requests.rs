//! The schemas of bodies take what the gateway takes, and refuse what it refuses.

use http::Method;
use serde_json::{Value, json};

use super::stage;
use crate::gateway::description::Face;
use crate::gateway::{ADMIN, Gateway, Plan, description, request};

/// Bodies of `POST` to a path: well-formed ones, and ones that break a rule of form. What depends on what is there (names, ids) is no
/// question of form.
#[expect(clippy::too_many_lines, reason = "a table")]
fn bodies() -> Vec<(&'static str, Vec<Value>, Vec<Value>)> {
    let id = chat::ConversationId::new().to_string();
    let message = json!({"role": "user", "content": "m"});
    vec![
        (
            "/v1/chat",
            vec![
                json!({"assistant": "docs", "message": "m", "store": false}),
                json!({"assistant": "docs", "message": "m", "messages": null, "conversation_id": null, "user": null}),
                json!({"assistant": "docs", "messages": [message], "when_busy": "queue"}),
                json!({"assistant": "docs", "message": [{"type": "text", "text": ""}, {"type": "text", "text": "m"}]}),
                json!({"assistant": "docs", "message": "m", "search_filters": {"a": [1]}, "metadata": {"a": null}}),
            ],
            vec![
                json!({}),
                json!({"message": "m"}),
                json!({"assistant": "docs"}),
                json!({"assistant": null, "message": "m"}),
                json!({"assistant": "", "message": "m"}),
                json!({"assistant": " ", "message": "m"}),
                json!({"assistant": "docs", "message": ""}),
                json!({"assistant": "docs", "message": []}),
                json!({"assistant": "docs", "message": [{"type": "text", "text": ""}]}),
                json!({"assistant": "docs", "message": [{"type": "image", "url": "ftp://example.com"}]}),
                json!({"assistant": "docs", "message": [{"type": "image", "url": "https://"}]}),
                json!({"assistant": "docs", "message": [{"type": "image"}]}),
                json!({"assistant": "docs", "message": [{"type": "text", "text": "m", "url": "https://example.com"}]}),
                json!({"assistant": "docs", "message": [{"type": "citation", "source_ids": []}]}),
                json!({"assistant": "docs", "message": "m", "messages": [message]}),
                json!({"assistant": "docs", "messages": []}),
                json!({"assistant": "docs", "messages": [{"role": "operator", "content": "m"}]}),
                json!({"assistant": "docs", "messages": [{"role": "user", "content": "m", "text": "m"}]}),
                json!({"conversation_id": id, "messages": [message]}),
                json!({"conversation_id": id, "message": "m", "store": false}),
                json!({"assistant": "docs", "message": "m", "temperature": 1}),
                json!({"assistant": "docs", "message": "m", "stream": "yes"}),
                json!({"assistant": "docs", "message": "m", "user": "a\u{0}"}),
                json!({"assistant": "docs", "message": "m", "user": "u".repeat(257)}),
                json!({"assistant": "docs", "message": "m", "context_messages": -1}),
                json!({"assistant": "docs", "message": "m", "search_filters": []}),
                json!({"assistant": "docs", "message": "m", "when_busy": "wait"}),
                json!([]),
            ],
        ),
        (
            "/v1/conversations",
            vec![json!({"assistant": "docs", "title": "", "user": "ann", "metadata": null})],
            vec![
                json!({}),
                json!({"assistant": "docs", "title": "t".repeat(1025)}),
                json!({"assistant": "docs", "title": "a\nb"}),
                json!({"assistant": "sales", "upstream_conversation_id": " "}),
                json!({"assistant": "docs", "metadata": []}),
            ],
        ),
        (
            "/v1/tokens",
            vec![json!({"user": "ann", "expires_in": 3600, "assistants": null})],
            vec![
                json!({"user": "ann"}),
                json!({"user": "ann", "expires_in": 0}),
                json!({"user": "ann", "expires_in": 3601}),
                json!({"user": "", "expires_in": 1}),
                json!({"user": "ann", "expires_in": 1, "assistants": []}),
                json!({"user": "ann", "expires_in": 1, "assistants": ["a b"]}),
            ],
        ),
        (
            "/v1/chat/completions",
            vec![
                json!({"model": "docs", "messages": [message], "temperature": [1], "anything": null}),
                json!({"model": "docs", "messages": [{"role": "developer", "content": "m"}, {"role": "assistant"}, message], "n": 1}),
                json!({"model": "docs", "messages": [{"role": "user", "content": [{"type": "text", "text": ""}, {"type": "input_text", "text": "m"}]}]}),
                json!({"model": "docs", "messages": [{"role": "assistant", "content": null, "refusal": "no"}, message], "user": null, "metadata": {"a": "b"}}),
                json!({"model": "docs", "messages": [message], "stream_options": {"include_usage": null, "x": 1}, "store": null}),
            ],
            vec![
                json!({}),
                json!({"model": "docs"}),
                json!({"model": null, "messages": [message]}),
                json!({"model": " ", "messages": [message]}),
                json!({"model": "docs", "messages": []}),
                json!({"model": "docs", "messages": "m"}),
                json!({"model": "docs", "messages": [{"content": "m"}]}),
                json!({"model": "docs", "messages": [{"role": "king", "content": "m"}]}),
                json!({"model": "docs", "messages": [{"role": "user"}]}),
                json!({"model": "docs", "messages": [{"role": "user", "content": ""}]}),
                json!({"model": "docs", "messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]}),
                json!({"model": "docs", "messages": [{"role": "user", "content": [{"type": "text"}]}]}),
                json!({"model": "docs", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
                json!({"model": "docs", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "ftp://a"}]}]}),
                json!({"model": "docs", "messages": [message], "n": 0}),
                json!({"model": "docs", "messages": [message], "n": 1.5}),
                json!({"model": "docs", "messages": [message], "stream": 1}),
                json!({"model": "docs", "messages": [message], "user": "a\nb"}),
                json!({"model": "docs", "messages": [message], "metadata": {"a": 1}}),
            ],
        ),
        (
            "/v1/responses",
            vec![
                json!({"model": "docs", "input": "m", "conversation": null, "temperature": "hot"}),
                json!({"model": "docs", "input": [{"role": "system", "content": "m"}, {"type": "message", "role": "user", "content": "m"}]}),
                json!({"model": "docs", "input": [{"type": "reasoning", "summary": []}, {"role": "assistant", "content": []}, message], "store": false}),
                json!({"model": "docs", "input": "m", "background": true, "store": true}),
                json!({"model": "docs", "input": "m", "background": false, "store": false}),
            ],
            vec![
                json!({"input": "m"}),
                json!({"model": "docs"}),
                json!({"model": "docs", "input": ""}),
                json!({"model": "docs", "input": []}),
                json!({"model": "docs", "input": [{"role": "user"}]}),
                json!({"model": "docs", "input": [{"role": "user", "content": []}]}),
                json!({"model": "docs", "input": [{"content": "m"}]}),
                json!({"model": "docs", "input": [{"type": "function_call", "call_id": "1"}]}),
                json!({"model": "docs", "input": [{"type": "function_call_output", "output": "m"}]}),
                json!({"model": "docs", "input": "m", "conversation": 1}),
                json!({"model": "docs", "input": "m", "conversation": {}}),
                json!({"model": "docs", "input": "m", "conversation": id, "previous_response_id": "resp_1"}),
                json!({"model": "docs", "input": "m", "background": true, "store": false}),
                json!({"model": "docs", "input": "m", "conversation": id, "store": false}),
                json!({"model": "docs", "input": "m", "instructions": ["m"]}),
            ],
        ),
        (
            "/openai/v1/conversations",
            vec![
                json!({}),
                json!({"items": null, "metadata": null}),
                json!({"items": [{"type": "message", "role": "user", "content": "m"}], "metadata": {"a": 1}, "x": 1}),
            ],
            vec![
                json!([]),
                json!({"items": "m"}),
                json!({"items": [{"role": "user", "content": ""}]}),
                json!({"items": vec![message.clone(); 21]}),
                json!({"metadata": "m"}),
            ],
        ),
        (
            "/admin/keys",
            vec![
                json!({"name": "a", "requests_per_minute": 1, "burst": 1, "reserve": {}}),
                json!({"name": "a", "burst": null, "assistants": ["docs"], "budgets": [{"per": "day", "tokens": 1, "cost": "0.5", "currency": "RUB"}]}),
            ],
            vec![
                json!({"name": " "}),
                json!({"name": "a", "requests_per_minute": 0}),
                json!({"name": "a", "burst": 5}),
                json!({"name": "a", "burst": 5, "requests_per_minute": null}),
                json!({"name": "a", "may": ["everything"]}),
                json!({"name": "a", "budgets": [{"per": "day"}]}),
                json!({"name": "a", "budgets": [{"per": "week", "tokens": 1}]}),
                json!({"name": "a", "budgets": [{"per": "day", "cost": "1"}]}),
                json!({"name": "a", "budgets": [{"per": "day", "cost": "-1", "currency": "RUB"}]}),
                json!({"name": "a", "reserve": {"cost": 1}}),
                json!({"name": "a", "expires_at": "90d"}),
            ],
        ),
    ]
}

#[tokio::test]
async fn schemas_of_bodies_are_as_strict_as_the_gateway() {
    let gateway = Gateway::kept(Plan { catalog: Some(stage::catalog()), ..Plan::default() }).await;
    for (path, good, bad) in bodies() {
        let face = if path.starts_with("/admin") { Face::Admins } else { Face::Clients };
        let (_, operation) = description::operation(face, &Method::POST, path).unwrap();
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        for (body, right) in
            good.into_iter().map(|body| (body, true)).chain(bad.into_iter().map(|body| (body, false)))
        {
            let request = request(Method::POST, path, ADMIN, body.to_string());
            let answer = if face == Face::Admins {
                gateway.send_admin(request).await
            } else {
                gateway.send(request).await
            };
            let problems = description::problems(schema, &body);
            assert_eq!(answer.status.is_success(), right, "{path} {body}: {}", answer.text);
            assert_eq!(problems.is_empty(), right, "{path} {body}: {problems:?}");
        }
    }
}
