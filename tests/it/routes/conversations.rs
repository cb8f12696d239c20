//! `/v1/conversations`: from the first message to the erasure of the last.

use chat::{AllowedAssistants, Permission};
use http::Method;
use serde_json::{Value, json};

use crate::gateway::{Answer, Gateway, KEY, Plan, key, request};

async fn gateway() -> Gateway {
    let operator =
        key("may-put-in-as-operator", |spec| spec.may = [Permission::Operator].into_iter().collect());
    let docs_only = key("may-use-docs-only", |spec| {
        spec.assistants = AllowedAssistants::These(["docs".parse().unwrap()].into());
    });
    let stranger = key("another-tenants-key", |spec| spec.tenant = "strangers".parse().unwrap());
    Gateway::kept(Plan { keys: vec![key(KEY, |_| {}), operator, docs_only, stranger], ..Plan::default() })
        .await
}

async fn send(gateway: &Gateway, method: Method, path: &str, key: &str, body: Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    gateway.send(request(method, path, key, body)).await
}

async fn made(gateway: &Gateway, body: Value) -> Value {
    let answer = gateway.post("/v1/conversations", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

fn path_of(conversation: &Value) -> String {
    format!("/v1/conversations/{}", conversation["id"].as_str().unwrap())
}

#[tokio::test]
async fn a_conversation_is_made_read_changed_and_erased() {
    let gateway = gateway().await;
    let new =
        made(&gateway, json!({"assistant": "support", "user": "ann", "title": "T", "metadata": {"a": [1]}}))
            .await;
    let fields: Vec<_> = new.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "id",
        "object",
        "assistant",
        "provider",
        "user",
        "title",
        "metadata",
        "message_count",
        "preview",
        "created_at",
        "updated_at",
        "upstream_conversation_id",
    ];
    assert_eq!(fields, expected);
    assert_eq!(
        (&new["object"], &new["provider"], &new["message_count"]),
        (&json!("conversation"), &json!("stage"), &json!(0))
    );
    let path = path_of(&new);
    assert_eq!(gateway.get(&path).await.json(), new);

    let change = async |body| send(&gateway, Method::PATCH, &path, KEY, body).await;
    assert_eq!(change(json!({"title": "U"})).await.json()["title"], "U");
    let cleared = change(json!({"title": null, "metadata": null})).await.json();
    assert_eq!((&cleared["title"], &cleared["metadata"]), (&Value::Null, &json!({})));
    assert_eq!(change(json!({})).await.json(), cleared);
    assert_eq!(
        change(json!({"assistant": "docs"})).await.error(),
        (400, "unknown_field".into(), Some("assistant".into()))
    );
    assert_eq!(
        change(json!({"title": "a\nb"})).await.error(),
        (400, "invalid_value".into(), Some("title".into()))
    );
    assert_eq!(
        change(json!({"metadata": []})).await.error(),
        (400, "invalid_value".into(), Some("metadata".into()))
    );

    for (method, body) in
        [(Method::GET, Value::Null), (Method::PATCH, json!({"title": "x"})), (Method::DELETE, Value::Null)]
    {
        for stranger in ["another-tenants-key", "may-use-docs-only"] {
            let answer = send(&gateway, method.clone(), &path, stranger, body.clone()).await;
            assert_eq!(answer.code(), (404, "conversation_not_found".into()), "{method} {stranger}");
        }
    }
    let erased = send(&gateway, Method::DELETE, &path, KEY, Value::Null).await;
    assert_eq!((erased.status.as_u16(), erased.text.as_str()), (204, ""));
    assert_eq!(gateway.get(&path).await.code(), (404, "conversation_not_found".into()));
}

#[tokio::test]
async fn conversations_are_listed_page_by_page_and_searched() {
    let gateway = gateway().await;
    for (assistant, user, title) in
        [("support", "ann", "red fox"), ("docs", "bob", "blue fox"), ("support", "ann", "green")]
    {
        made(&gateway, json!({"assistant": assistant, "user": user, "title": title})).await;
    }
    let titles = async |query: &str| {
        let answer = gateway.get(&format!("/v1/conversations{query}")).await.json();
        assert_eq!(answer["object"], "list");
        let titles =
            answer["data"].as_array().unwrap().iter().map(|one| one["title"].as_str().unwrap().to_owned());
        (titles.collect::<Vec<_>>(), answer["has_more"].as_bool().unwrap(), answer["next_cursor"].clone())
    };
    assert_eq!(titles("").await.0, ["green", "blue fox", "red fox"]);
    assert_eq!(titles("?user=ann").await.0, ["green", "red fox"]);
    assert_eq!(titles("?assistant=docs").await.0, ["blue fox"]);
    assert_eq!(titles("?q=fox").await.0, ["blue fox", "red fox"]);
    assert_eq!(titles("?since=2999-01-01").await.0, [""; 0]);
    let (first, more, cursor) = titles("?limit=2").await;
    assert_eq!((first, more), (vec!["green".to_owned(), "blue fox".to_owned()], true));
    let next = format!("?limit=2&cursor={}", cursor.as_str().unwrap());
    assert_eq!(titles(&next).await, (vec!["red fox".to_owned()], false, Value::Null));
    assert_eq!(
        gateway.get("/v1/conversations?cursor=x").await.error(),
        (400, "invalid_value".into(), Some("cursor".into()))
    );
    let seen =
        send(&gateway, Method::GET, "/v1/conversations", "may-use-docs-only", Value::Null).await.json();
    assert_eq!(seen["data"].as_array().unwrap().len(), 1);
    let seen =
        send(&gateway, Method::GET, "/v1/conversations", "another-tenants-key", Value::Null).await.json();
    assert_eq!(seen["data"], json!([]));

    let erased = send(&gateway, Method::DELETE, "/v1/conversations?user=ann", KEY, Value::Null).await;
    assert_eq!((erased.status.as_u16(), erased.json()), (200, json!({"deleted": 2})));
    assert_eq!(titles("").await.0, ["blue fox"]);
}

#[tokio::test]
async fn messages_are_put_in_read_and_exported() {
    let gateway = gateway().await;
    let new = made(&gateway, json!({"assistant": "support", "title": "A *title*"})).await;
    let path = path_of(&new);
    let messages = format!("{path}/messages");
    let said =
        gateway.post("/v1/chat", json!({"conversation_id": new["id"], "message": "hi\n## assistant"})).await;
    assert_eq!(said.status, 200, "{}", said.text);
    let as_operator = json!({"role": "operator", "author": "Ada", "text": "hold on"});
    assert_eq!(gateway.post(&messages, as_operator.clone()).await.code(), (403, "not_permitted".into()));
    let put = send(&gateway, Method::POST, &messages, "may-put-in-as-operator", as_operator).await;
    assert_eq!(put.status, 201, "{}", put.text);
    let put = put.json();
    assert_eq!(
        (&put["role"], &put["author"], &put["delivery"]),
        (&json!("operator"), &json!("Ada"), &json!("next_turn"))
    );
    for (body, code, param) in [
        (json!({"role": "user", "text": ""}), "invalid_value", "text"),
        (json!({"role": "user"}), "missing_field", "text"),
        (json!({"role": "robot", "text": "x"}), "invalid_value", "role"),
        (json!({"role": "user", "text": "x", "author": "a\u{7}"}), "invalid_value", "author"),
        (json!({"role": "user", "text": "x", "id": "msg_1"}), "unknown_field", "id"),
    ] {
        assert_eq!(
            gateway.post(&messages, body.clone()).await.error(),
            (400, code.into(), Some(param.into())),
            "{body}"
        );
    }

    let list = gateway.get(&messages).await.json();
    let roles: Vec<_> =
        list["data"].as_array().unwrap().iter().map(|one| one["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "operator"]);
    let newest = gateway.get(&format!("{messages}?order=desc&limit=1")).await.json();
    assert_eq!((&newest["data"][0]["text"], &newest["has_more"]), (&json!("hold on"), &json!(true)));

    let jsonl = gateway.get(&format!("{path}/export")).await;
    assert_eq!(jsonl.header("content-type"), Some("application/x-ndjson"));
    let lines: Vec<Value> = jsonl.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["object"], "conversation");
    assert_eq!(&lines[1..], list["data"].as_array().unwrap().as_slice());
    let markdown = gateway.get(&format!("{path}/export?format=markdown")).await;
    assert_eq!(markdown.header("content-type"), Some("text/markdown; charset=utf-8"));
    assert!(markdown.text.starts_with("# A \\*title\\*\n"), "{}", markdown.text);
    let headings: Vec<_> = markdown.text.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings.len(), 3, "{}", markdown.text);
    assert!(headings[2].starts_with("## Ada (operator), "));
}

#[tokio::test]
async fn a_long_conversation_is_exported_whole() {
    let gateway = gateway().await;
    let new = made(&gateway, json!({"assistant": "support"})).await;
    let path = path_of(&new);
    for number in 0..205 {
        gateway.post(&format!("{path}/messages"), json!({"role": "user", "text": number.to_string()})).await;
    }
    let text = gateway.get(&format!("{path}/export?format=jsonl")).await.text;
    let said: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["text"].as_str().unwrap().parse::<u32>().unwrap()
        })
        .collect();
    assert_eq!(said, (0..205).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_fork_takes_the_history_up_to_a_message() {
    let gateway = gateway().await;
    let new = made(&gateway, json!({"assistant": "support"})).await;
    let path = path_of(&new);
    for text in ["one", "two"] {
        gateway.post(&format!("{path}/messages"), json!({"role": "user", "text": text})).await;
    }
    let first = gateway.get(&format!("{path}/messages")).await.json()["data"][0]["id"].clone();
    let fork = format!("{path}/fork");
    let count = async |body: Value| {
        let answer = send(&gateway, Method::POST, &fork, KEY, body).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["message_count"].as_u64().unwrap()
    };
    assert_eq!(count(Value::Null).await, 2);
    assert_eq!(count(json!({})).await, 2);
    assert_eq!(count(json!({"message_id": first})).await, 1);
    let unknown = (400, "invalid_value".to_owned(), Some("message_id".to_owned()));
    assert_eq!(gateway.post(&fork, json!({"message_id": "msg_1"})).await.error(), unknown);
    assert_eq!(gateway.post(&fork, json!({"message_id": chat::MessageId::new()})).await.error(), unknown);
    let other = format!("/v1/conversations/{}/fork", chat::ConversationId::new());
    assert_eq!(
        gateway.post(&other, json!({"message_id": "msg_1"})).await.code(),
        (404, "conversation_not_found".into())
    );
}

#[tokio::test]
async fn what_the_provider_cannot_do_is_said() {
    let gateway = gateway().await;
    let new = made(&gateway, json!({"assistant": "support"})).await;
    let sync = format!("{}/sync", path_of(&new));
    assert_eq!(
        send(&gateway, Method::POST, &sync, KEY, Value::Null).await.code(),
        (422, "unsupported".into())
    );
    let list = gateway.get("/v1/assistants/support/conversations").await;
    assert_eq!(list.code(), (403, "not_permitted".into()));
    let adopt = gateway
        .post("/v1/conversations", json!({"assistant": "support", "upstream_conversation_id": "x"}))
        .await;
    assert_eq!(adopt.code(), (403, "not_permitted".into()));
}

#[tokio::test]
async fn usage_is_summed_by_day() {
    let gateway = gateway().await;
    gateway.post("/v1/chat", json!({"assistant": "support", "message": "hi"})).await;
    let usage = gateway.get("/v1/usage").await.json();
    assert_eq!(usage["data"][0]["assistant"], "support");
    assert_eq!((&usage["data"][0]["turns"], &usage["data"][0]["total_tokens"]), (&json!(1), &json!(50)));
    assert_eq!(usage["data"][0].get("tenant"), None);
    assert_eq!(gateway.get("/v1/usage?until=2020-01-01").await.json()["data"], json!([]));
}
