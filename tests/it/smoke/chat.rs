//! `switchboard chat` with a pipe for standard input.

use super::Program;
use super::program::{command, run};

#[tokio::test]
async fn each_line_is_a_turn_of_one_conversation() {
    let demo = Program::demo().await;
    let mut chat = command(&["chat", "--url", &demo.url, "--key", &demo.key, "--assistant", "docs"]);
    let (status, out, err) = run(&mut chat, "My name is Ada.\n\nWhat is my name?\n").await;
    assert_eq!(status.code(), Some(0), "{out}{err}");
    let (first, second) = out.split_once("[2]").expect("sources stand below the first reply");
    assert!(first.contains("You said: «My name is Ada.»"), "{out}");
    assert!(second.contains("Ada"), "{out}");
    assert!(out.contains("https://"), "sources have their address: {out}");
    assert!(!out.contains('\u{1b}'), "no colours in a pipe: {out:?}");

    let id = err.rsplit_once("--conversation ").expect("it says how to go on").1.trim();
    let mut chat = command(&["chat", "--conversation", id]);
    chat.env("SWITCHBOARD_URL", &demo.url).env("SWITCHBOARD_KEY", &demo.key);
    let (status, out, err) = run(&mut chat, "What did I say first?\n").await;
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(out.contains("My name is Ada."), "{out}");
}

#[tokio::test]
async fn a_pipe_is_given_no_control_characters_and_may_give_what_is_no_text() {
    let demo = Program::demo().await;
    let mut chat = command(&["chat", "--url", &demo.url, "--key", &demo.key, "--assistant", "docs"]);
    let (status, out, err) = run(&mut chat, b"caf\xe9 \x1b[2Jhere\nand there\n".as_slice()).await;
    assert_eq!(status.code(), Some(0), "{out}{err}");
    assert!(out.contains("caf\u{fffd} [2Jhere") && out.contains("and there"), "{out:?}");
    assert!(!out.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{out:?}");
}

#[tokio::test]
async fn what_goes_wrong_is_a_sentence_and_exit_code_1() {
    let demo = Program::demo().await;
    let mut chat = command(&["chat", "--url", &demo.url, "--key", "not-a-key", "--assistant", "docs"]);
    let (status, out, err) = run(&mut chat, "Hello\n").await;
    assert_eq!((status.code(), out.as_str()), (Some(1), ""), "{err}");
    assert!(err.contains("(invalid_key)"), "{err}");

    let mut chat = command(&["chat", "--url", &demo.url, "--key", &demo.key, "--assistant", "nobody"]);
    let (status, _, err) = run(&mut chat, "Hello\n").await;
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("nobody") || err.contains("assistant_not_found"), "{err}");

    let mut chat = command(&["chat", "--url", "http://127.0.0.1:1"]);
    let (status, _, err) = run(&mut chat, "Hello\n").await;
    assert_eq!(status.code(), Some(1));
    assert!(err.contains("nobody answers there"), "{err}");
}
