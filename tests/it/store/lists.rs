//! Lists: in order, filtered, paged while they grow, searched with whatever a user writes.

use chat::{
    ConversationChange, ConversationFilter, ConversationId, ConversationStore, PageRequest, Role, StoreError,
};

use super::bed::{Bed, assistant, at, new_conversation, page, says, user};

super::suite![
    the_last_changed_comes_first,
    filters_narrow,
    paging_neither_skips_nor_repeats,
    several_assistants_are_one_list,
    messages_are_paged_both_ways,
    a_strange_cursor_is_refused,
    words_are_found,
    odd_searches_harm_nothing,
    erased_words_are_not_found,
];

async fn ids(bed: &Bed, filter: ConversationFilter) -> Vec<ConversationId> {
    let found = bed.store.conversations(&bed.tenant, filter, page(100)).await.unwrap();
    assert_eq!(found.next_cursor, None);
    found.items.into_iter().map(|item| item.id).collect()
}

async fn the_last_changed_comes_first(bed: &Bed) {
    let (one, two) = (bed.conversation(1).await, bed.conversation(2).await);
    assert_eq!(ids(bed, ConversationFilter::default()).await, [two, one]);
    bed.store.put_message(&bed.tenant, one, says(Role::User, "x", 3), None).await.unwrap();
    assert_eq!(ids(bed, ConversationFilter::default()).await, [one, two]);
    bed.store.change_conversation(&bed.tenant, two, ConversationChange::default(), at(4)).await.unwrap();
    assert_eq!(ids(bed, ConversationFilter::default()).await, [two, one]);
}

async fn filters_narrow(bed: &Bed) {
    let mut made = Vec::new();
    for (number, (name, owner)) in
        [("support", Some("eve")), ("docs", Some("eve")), ("docs", None), ("hr", Some("adam"))]
            .into_iter()
            .enumerate()
    {
        let mut new = new_conversation(number as i64);
        new.assistant = assistant(name);
        new.user = owner.map(user);
        made.push(bed.store.create_conversation(&bed.tenant, new, None).await.unwrap().id);
    }
    let all = ConversationFilter::default;
    let these = |names: &[&str]| Some(names.iter().map(|name| assistant(name)).collect::<Vec<_>>());
    let cases = [
        (all(), vec![3, 2, 1, 0]),
        (ConversationFilter { assistant: Some(assistant("docs")), ..all() }, vec![2, 1]),
        (ConversationFilter { user: Some(user("eve")), ..all() }, vec![1, 0]),
        (
            ConversationFilter { user: Some(user("eve")), assistant: Some(assistant("docs")), ..all() },
            vec![1],
        ),
        (ConversationFilter { assistants: these(&["docs", "hr"]), ..all() }, vec![3, 2, 1]),
        (ConversationFilter { assistants: these(&[]), ..all() }, vec![]),
        (
            ConversationFilter { assistants: these(&["hr", "support"]), user: Some(user("eve")), ..all() },
            vec![0],
        ),
        (
            ConversationFilter { assistants: these(&["hr"]), assistant: Some(assistant("docs")), ..all() },
            vec![],
        ),
        (
            ConversationFilter { assistants: these(&["hr"]), assistant: Some(assistant("hr")), ..all() },
            vec![3],
        ),
        (ConversationFilter { since: Some(at(1)), until: Some(at(2)), ..all() }, vec![2, 1]),
    ];
    for (filter, expected) in cases {
        let expected: Vec<_> = expected.into_iter().map(|index: usize| made[index]).collect();
        assert_eq!(ids(bed, filter.clone()).await, expected, "{filter:?}");
    }
}

async fn paging_neither_skips_nor_repeats(bed: &Bed) {
    let mut expected = Vec::new();
    for number in 0..25 {
        // Many at the same time: the id decides.
        expected.push(bed.conversation(number / 5).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let request = PageRequest { limit: 4, cursor };
        let found =
            bed.store.conversations(&bed.tenant, ConversationFilter::default(), request).await.unwrap();
        seen.extend(found.items.into_iter().map(|item| item.id));
        // Meanwhile others are made, and some change.
        let new = bed.conversation(100).await;
        bed.store.put_message(&bed.tenant, new, says(Role::User, "x", 101), None).await.unwrap();
        match found.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

async fn several_assistants_are_one_list(bed: &Bed) {
    let mut expected = Vec::new();
    for number in 0..12 {
        let mut new = new_conversation(number);
        new.assistant = assistant(["a", "b", "c"][number as usize % 3]);
        let made = bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
        if made.assistant.as_str() != "b" {
            expected.insert(0, made.id);
        }
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let filter = ConversationFilter {
            assistants: Some(vec![assistant("a"), assistant("c"), assistant("a")]),
            ..ConversationFilter::default()
        };
        let request = PageRequest { limit: 3, cursor };
        let found = bed.store.conversations(&bed.tenant, filter, request).await.unwrap();
        seen.extend(found.items.into_iter().map(|item| item.id));
        match found.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(seen, expected);
}

async fn messages_are_paged_both_ways(bed: &Bed) {
    let id = bed.conversation(0).await;
    let mut expected: Vec<String> = Vec::new();
    for number in 0..4 {
        let (said, answer) = (format!("q{number}"), format!("a{number}"));
        bed.exchange(id, &said, if number == 2 { "" } else { &answer }, number * 2 + 1).await;
        expected.push(said);
        expected.extend((number != 2).then_some(answer));
    }
    for descending in [false, true] {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { limit: 3, cursor };
            let found = bed.store.messages(&bed.tenant, id, descending, request).await.unwrap();
            seen.extend(found.items.iter().map(|item| item.content.text().into_owned()));
            match found.next_cursor {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, expected);
        expected.reverse();
    }
}

async fn a_strange_cursor_is_refused(bed: &Bed) {
    let (id, other) = (bed.conversation(0).await, bed.conversation(1).await);
    for one in [id, other] {
        bed.exchange(one, "question", "answer", 2).await;
    }
    let listed =
        async |id, cursor| bed.store.messages(&bed.tenant, id, false, PageRequest { limit: 1, cursor }).await;
    let cursor = listed(id, None).await.unwrap().next_cursor;
    assert_eq!(listed(id, cursor.clone()).await.unwrap().items.len(), 1);
    assert!(matches!(listed(other, cursor).await, Err(StoreError::Cursor)), "another conversation's");
    for cursor in ["", "x", "c", "a-1", "d", "c1_2", "a9999999999999999999", "' OR 1=1", "\u{0}"] {
        let request = || PageRequest { limit: 3, cursor: Some(cursor.into()) };
        let listed = bed.store.conversations(&bed.tenant, ConversationFilter::default(), request()).await;
        assert!(matches!(listed, Err(StoreError::Cursor)), "{cursor:?}");
        let listed = bed.store.messages(&bed.tenant, id, false, request()).await;
        assert!(matches!(listed, Err(StoreError::Cursor)), "{cursor:?}");
    }
}

fn searching(words: &str) -> ConversationFilter {
    ConversationFilter { words: Some(words.into()), ..ConversationFilter::default() }
}

async fn words_are_found(bed: &Bed) {
    let mut new = new_conversation(0);
    new.title = Some("Возврат товара".into());
    new.messages = vec![says(Role::User, "Здравствуйте! Чайник foo-bar не работает.", 0)];
    let one = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    bed.exchange(one, "mail me at eve@example.com", "ЁЛКА costs 3.14", 1).await;
    let mut new = new_conversation(5);
    new.title = Some("Tea kettle".into());
    let two = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    for (words, expected) in [
        ("чайник", vec![one]),
        ("ЧАЙНИК", vec![one]),
        ("чай", vec![one]),
        ("чай работает", vec![]),
        ("работает чай", vec![one]),
        ("возврат чайник", vec![one]),
        ("возврат чайника", vec![]),
        ("foo bar", vec![one]),
        ("example", vec![one]),
        ("eve@example.com", vec![one]),
        ("3.14", vec![one]),
        ("ёлка", vec![one]),
        ("kettle", vec![two]),
        ("KET", vec![two]),
        ("e", vec![one]),
        ("te", vec![two]),
        ("kettle чайник", vec![]),
        ("  ", vec![two, one]),
        ("absent", vec![]),
    ] {
        assert_eq!(ids(bed, searching(words)).await, expected, "{words:?}");
    }
    let filter = ConversationFilter { until: Some(at(4)), ..searching("t") };
    assert_eq!(ids(bed, filter).await, []);
}

async fn odd_searches_harm_nothing(bed: &Bed) {
    let mut new = new_conversation(0);
    new.messages = vec![says(Role::User, "it's NOT far \"here\" AND हिन्दी OR ß straße 日本語", 0)];
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    let long = "x".repeat(100_000);
    let many = "word ".repeat(10_000);
    for words in [
        "\"",
        "'",
        "*",
        "(",
        ")",
        "-",
        "^",
        ":",
        "NEAR(",
        "a AND",
        "OR OR x",
        "text:x",
        "\\",
        "%",
        "_",
        "\0",
        "!!!",
        "&|!<->",
        "'''\"\"\"",
        "a:*b",
        "x' OR '1'='1",
        "\u{202e}",
        "\u{1F600}",
        "\u{301}",
        &long,
        &many,
    ] {
        assert_eq!(ids(bed, searching(words)).await, [], "{words:.20?}");
    }
    for words in ["it's", "NOT", "far here", "AND OR", "हिन्दी", "straße", "日本", "\"here", "not*"]
    {
        assert_eq!(ids(bed, searching(words)).await, [id], "{words:?}");
    }
}

async fn erased_words_are_not_found(bed: &Bed) {
    let mut new = new_conversation(0);
    new.title = Some("ephemeral".into());
    let id = new.id;
    bed.store.create_conversation(&bed.tenant, new, None).await.unwrap();
    let change = ConversationChange { title: Some(Some("lasting".into())), metadata: None };
    bed.store.change_conversation(&bed.tenant, id, change, at(1)).await.unwrap();
    assert_eq!(ids(bed, searching("ephemeral")).await, []);
    assert_eq!(ids(bed, searching("lasting")).await, [id]);
    bed.exchange(id, "transient words", "fleeting", 2).await;
    assert_eq!(ids(bed, searching("lasting fleeting transient")).await, [id]);
    bed.store.delete_conversation(&bed.tenant, id).await.unwrap();
    for words in ["lasting", "fleeting", "transient"] {
        assert_eq!(ids(bed, searching(words)).await, []);
    }
}
