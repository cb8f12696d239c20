//! Conversations against a model: whatever is done to them, in whatever order, the history is the one that a simple sequential
//! program gives.

use std::collections::VecDeque;

use chat::{
    ConversationId, ConversationStore, Failure, Message, MessageStatus, PageRequest, Piece, Role, Turn,
    TurnStatus, WhenBusy,
};
use engine::{Ask, PutMessage, Reader};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::kit::{Act, Gate, Kit, Options, Play, Scripted, ask, caller, read_until, text};

/// How a turn goes once it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Whole,
    /// It fails before any text.
    Fails,
    /// It breaks after some text.
    Breaks,
}

/// How a turn that runs comes to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    /// The provider goes on to the end.
    Whole,
    Cancelled,
    /// Another turn takes its place.
    Interrupted,
    /// The process is killed, once what came of the turn is kept.
    Killed,
}

/// One thing that is done.
#[derive(Debug, Clone)]
enum Step {
    /// A turn of an assistant (another one moves the conversation), from start to end.
    Turn(usize, Fate),
    /// A turn that runs while other things are done.
    During {
        assistant: usize,
        says: bool,
        done: Vec<Meanwhile>,
        close: Close,
    },
    Put(bool),
    /// Goes on in a copy, up to and with one of the messages.
    Fork(Option<Index>),
    /// Kills the process and starts another.
    Restart,
    /// Goes on in another of the conversations.
    Switch(Index),
}

/// What is done while a turn runs.
#[derive(Debug, Clone)]
enum Meanwhile {
    /// A turn that is refused.
    Refused,
    /// A turn that waits.
    Waits(usize, Fate),
    Put(bool),
    /// Cancels one of those that wait.
    Cancel(Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = || prop_oneof![3 => Just(Fate::Whole), 1 => Just(Fate::Fails), 1 => Just(Fate::Breaks)];
    let meanwhile = prop_oneof![
        1 => Just(Meanwhile::Refused),
        3 => (0..3_usize, fate()).prop_map(|(assistant, fate)| Meanwhile::Waits(assistant, fate)),
        2 => any::<bool>().prop_map(Meanwhile::Put),
        1 => any::<Index>().prop_map(Meanwhile::Cancel),
    ];
    let close = prop_oneof![
        Just(Close::Whole),
        Just(Close::Cancelled),
        Just(Close::Interrupted),
        Just(Close::Killed)
    ];
    let during = (0..3_usize, any::<bool>(), prop::collection::vec(meanwhile, 0..5), close)
        .prop_map(|(assistant, says, done, close)| Step::During { assistant, says, done, close });
    let step = prop_oneof![
        4 => (0..3_usize, fate()).prop_map(|(assistant, fate)| Step::Turn(assistant, fate)),
        4 => during,
        2 => any::<bool>().prop_map(Step::Put),
        1 => prop::option::of(any::<Index>()).prop_map(Step::Fork),
        1 => Just(Step::Restart),
        1 => any::<Index>().prop_map(Step::Switch),
    ];
    prop::collection::vec(step, 1..12)
}

/// A message as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    role: Role,
    text: String,
    status: MessageStatus,
    /// The turn that it belongs to; a copy has none, nor has a message put in.
    turn: Option<usize>,
}

/// The sequential model: conversations as lists of messages.
#[derive(Debug, Default)]
struct Model {
    conversations: Vec<Vec<Line>>,
    now: usize,
    turns: usize,
    words: usize,
}

impl Model {
    fn lines(&mut self) -> &mut Vec<Line> {
        &mut self.conversations[self.now]
    }

    fn words(&mut self, what: &str) -> String {
        self.words += 1;
        format!("{what} {}", self.words)
    }

    /// A turn is accepted: the user's words stand there, and the place after them is its reply's.
    fn accepted(&mut self, text: &str) -> usize {
        self.turns += 1;
        let turn = self.turns;
        let line = |role, text: &str| Line {
            role,
            text: text.to_owned(),
            status: MessageStatus::Completed,
            turn: Some(turn),
        };
        let (question, place) = (line(Role::User, text), line(Role::Assistant, ""));
        self.lines().extend([question, place]);
        turn
    }

    /// A turn has ended: its reply fills the place, or there is none and no place.
    fn ended(&mut self, turn: usize, reply: &str, status: TurnStatus) {
        let status = match status {
            TurnStatus::Completed => MessageStatus::Completed,
            TurnStatus::Cancelled => MessageStatus::Cancelled,
            TurnStatus::Failed => MessageStatus::Failed,
            _ => MessageStatus::Incomplete,
        };
        let lines = self.lines();
        let question = lines.iter().position(|line| line.turn == Some(turn)).unwrap();
        if reply.is_empty() {
            lines.remove(question + 1);
        } else {
            lines[question + 1].text = reply.to_owned();
            lines[question + 1].status = status;
        }
        if status == MessageStatus::Failed {
            lines[question].status = status;
        }
    }

    fn put(&mut self, role: Role, text: &str) {
        let line = Line { role, text: text.to_owned(), status: MessageStatus::Completed, turn: None };
        self.lines().push(line);
    }

    /// What a provider is given before the words of a turn: all that stands before them, but what failed.
    fn given(&mut self, turn: usize) -> Vec<String> {
        let before = self.lines().iter().take_while(|line| line.turn != Some(turn));
        before.filter(|line| line.status != MessageStatus::Failed).map(|line| line.text.clone()).collect()
    }
}

/// The conversations themselves, beside the model.
struct World {
    /// None for the moment of a restart.
    kit: Option<Kit>,
    model: Model,
    ids: Vec<ConversationId>,
}

/// A turn that waits behind another.
struct Waiting {
    reader: Reader,
    turn: usize,
    assistant: usize,
    fate: Fate,
    reply: String,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A play of this fate, and the reply and status that come of it.
fn play(fate: Fate, reply: &str) -> (Play, String, TurnStatus) {
    let fails = || Act::Fail(Failure::Protocol.into());
    match fate {
        Fate::Whole => (text(&[reply]), reply.to_owned(), TurnStatus::Completed),
        Fate::Fails => (vec![fails()], String::new(), TurnStatus::Failed),
        Fate::Breaks => (
            vec![Act::Give(Piece::Text(reply.to_owned())), fails()],
            reply.to_owned(),
            TurnStatus::Incomplete,
        ),
    }
}

impl World {
    async fn new() -> Self {
        let options = Options { context_messages: 1000, ..Options::default() };
        let providers = [Scripted::replay(), Scripted::replay(), Scripted::replay()];
        let kit = Some(Kit::with(options, providers).await);
        let mut world = Self { kit, model: Model::default(), ids: Vec::new() };
        // The first turn makes the conversation.
        world.model.conversations.push(Vec::new());
        let first = world.kit().say("first", None).await;
        let turn = world.model.accepted("first");
        world.model.ended(turn, "ok", TurnStatus::Completed);
        world.ids.push(first.conversation_id.unwrap());
        world
    }

    fn kit(&self) -> &Kit {
        self.kit.as_ref().unwrap()
    }

    fn here(&self) -> ConversationId {
        self.ids[self.model.now]
    }

    fn ask(&self, assistant: usize, text: &str, when_busy: WhenBusy) -> Ask {
        Ask { conversation_id: Some(self.here()), when_busy: Some(when_busy), ..ask(NAMES[assistant], text) }
    }

    async fn accept(&mut self, assistant: usize, text: &str, when_busy: WhenBusy) -> (Reader, usize) {
        let reader =
            self.kit().engine.chat(&caller("t"), self.ask(assistant, text, when_busy)).await.unwrap();
        (reader, self.model.accepted(text))
    }

    fn check_end(&mut self, turn: &Turn, expected: (usize, &str, TurnStatus)) {
        let (number, reply, status) = expected;
        assert_eq!(turn.status, status, "{:?}", turn.error);
        let text =
            turn.message.as_ref().map(|message| message.content.text().into_owned()).unwrap_or_default();
        assert_eq!(text, reply);
        self.model.ended(number, reply, status);
    }

    async fn put(&mut self, operator: bool) {
        let text = self.model.words("put in");
        let role = if operator { Role::Operator } else { Role::Assistant };
        let put = PutMessage { role, author: None, text: text.clone() };
        self.kit().engine.put_message(&caller("t"), self.here(), put, None).await.unwrap();
        self.model.put(role, &text);
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Turn(assistant, fate) => {
                let (said, reply) = (self.model.words("question"), self.model.words("answer"));
                let (play, reply, status) = play(fate, &reply);
                self.kit().providers[assistant].plays(play);
                let (mut reader, turn) = self.accept(assistant, &said, WhenBusy::Reject).await;
                let ended = reader.end().await;
                assert_eq!(self.kit().providers[assistant].last_history(), self.model.given(turn));
                self.check_end(&ended, (turn, &reply, status));
            }
            Step::During { assistant, says, done, close } => {
                Box::pin(self.during(assistant, says, done, close)).await
            }
            Step::Put(operator) => self.put(operator).await,
            Step::Fork(up_to) => self.fork(up_to).await,
            Step::Restart => self.restart().await,
            Step::Switch(to) => self.model.now = to.index(self.ids.len()),
        }
        self.check().await;
    }

    async fn restart(&mut self) {
        let killed = self.kit.take().unwrap();
        self.kit = Some(killed.killed_and_restarted().await);
    }

    async fn fork(&mut self, up_to: Option<Index>) {
        let messages = self.messages().await;
        let up_to = up_to.map(|index| index.index(messages.len()));
        let last = up_to.map(|index| messages[index].id);
        let fork = self.kit().engine.fork(&caller("t"), self.here(), last, None).await.unwrap();
        let mut lines = self.model.lines().clone();
        lines.truncate(up_to.map_or(lines.len(), |index| index + 1));
        lines.iter_mut().for_each(|line| line.turn = None);
        self.model.conversations.push(lines);
        self.ids.push(fork.id);
        self.model.now = self.ids.len() - 1;
    }

    async fn during(&mut self, assistant: usize, says: bool, done: Vec<Meanwhile>, close: Close) {
        let (said, beginning, gate) = (self.model.words("question"), self.model.words("begins"), Gate::new());
        let beginning = if says { beginning } else { String::new() };
        let mut acts: Play = Vec::new();
        if says {
            acts.push(Act::Give(Piece::Text(beginning.clone())));
        }
        acts.push(Act::Wait(gate.clone()));
        acts.extend(text(&["!"]));
        self.kit().providers[assistant].plays(acts);
        let (mut reader, turn) = self.accept(assistant, &said, WhenBusy::Reject).await;
        read_until(&mut reader, |events| events.len() > usize::from(says)).await;
        let mut waiting = VecDeque::new();
        for one in done {
            self.meanwhile(one, &mut waiting).await;
        }
        if close != Close::Killed && close != Close::Interrupted {
            for one in &waiting {
                self.kit().providers[one.assistant].plays(play(one.fate, &one.reply).0);
            }
        }
        match close {
            Close::Whole => {
                gate.open();
                let ended = reader.end().await;
                self.check_end(&ended, (turn, &format!("{beginning}!"), TurnStatus::Completed));
            }
            Close::Cancelled => {
                let ended = self.kit().engine.cancel(&caller("t"), reader.turn_id()).await.unwrap();
                self.check_end(&ended, (turn, &beginning, TurnStatus::Cancelled));
            }
            Close::Interrupted => {
                // Those that wait would be interrupted as well, unless they are quicker.
                for one in std::mem::take(&mut waiting) {
                    self.cancel(one).await;
                }
                let words = self.model.words("interrupts");
                let reply = format!("answer {}", self.model.words + 1);
                self.kit().providers[0].plays(text(&[&reply]));
                waiting.push_back(self.wait(0, Fate::Whole, words, WhenBusy::Interrupt).await);
                let ended = reader.end().await;
                self.check_end(&ended, (turn, &beginning, TurnStatus::Cancelled));
            }
            Close::Killed => return self.killed(reader, (turn, &beginning), waiting).await,
        }
        for mut one in waiting {
            let ended = one.reader.end().await;
            let (_, reply, status) = play(one.fate, &one.reply);
            assert_eq!(self.given_to(&ended), self.model.given(one.turn));
            self.check_end(&ended, (one.turn, &reply, status));
        }
    }

    async fn killed(&mut self, reader: Reader, (turn, beginning): (usize, &str), waiting: VecDeque<Waiting>) {
        let me = caller("t");
        // Wait for the checkpoint, not for a time: the store tells.
        loop {
            let stored = self.kit().store.turn(&me.tenant, reader.turn_id()).await.unwrap();
            if beginning.is_empty() || stored.turn.message.is_some() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.restart().await;
        let settled = self.kit().engine.turn(&me, reader.turn_id()).await.unwrap();
        let status = if beginning.is_empty() { TurnStatus::Failed } else { TurnStatus::Incomplete };
        self.check_end(&settled, (turn, beginning, status));
        for one in waiting {
            let settled = self.kit().engine.turn(&me, one.reader.turn_id()).await.unwrap();
            self.check_end(&settled, (one.turn, "", TurnStatus::Failed));
        }
    }

    async fn cancel(&mut self, one: Waiting) {
        let ended = self.kit().engine.cancel(&caller("t"), one.reader.turn_id()).await.unwrap();
        self.check_end(&ended, (one.turn, "", TurnStatus::Cancelled));
    }

    /// What the provider was given for this turn.
    fn given_to(&self, turn: &Turn) -> Vec<String> {
        let asked = self.kit().providers.iter().flat_map(|provider| provider.asked.lock().unwrap().clone());
        let mut asked = asked.filter(|request| request.turn_id == turn.id);
        let request = asked.next().expect("it was asked");
        assert!(asked.next().is_none(), "once");
        request.history.iter().map(|message| message.content.text().into_owned()).collect()
    }

    async fn wait(&mut self, assistant: usize, fate: Fate, said: String, when_busy: WhenBusy) -> Waiting {
        let reply = self.model.words("answer");
        let (reader, turn) = self.accept(assistant, &said, when_busy).await;
        Waiting { reader, turn, assistant, fate, reply }
    }

    async fn meanwhile(&mut self, what: Meanwhile, waiting: &mut VecDeque<Waiting>) {
        match what {
            Meanwhile::Refused => {
                let refused =
                    self.kit().engine.chat(&caller("t"), self.ask(0, "busy", WhenBusy::Reject)).await;
                assert!(refused.is_err());
            }
            Meanwhile::Waits(assistant, fate) => {
                let words = self.model.words("question");
                let one = self.wait(assistant, fate, words, WhenBusy::Queue).await;
                waiting.push_back(one);
            }
            Meanwhile::Put(operator) => self.put(operator).await,
            Meanwhile::Cancel(_) if waiting.is_empty() => {}
            Meanwhile::Cancel(which) => {
                let one = waiting.remove(which.index(waiting.len())).unwrap();
                self.cancel(one).await;
            }
        }
    }

    async fn messages(&self) -> Vec<Message> {
        let page = PageRequest { limit: 100, cursor: None };
        let page = self.kit().engine.messages(&caller("t"), self.here(), false, page).await.unwrap();
        assert!(page.next_cursor.is_none(), "a test of this size has no second page");
        page.items
    }

    /// The history is the model's.
    async fn check(&mut self) {
        let messages = self.messages().await;
        let line = |message: &Message| (message.role, message.content.text().into_owned(), message.status);
        let kept: Vec<_> = messages.iter().map(line).collect();
        let expected: Vec<_> =
            self.model.lines().iter().map(|line| (line.role, line.text.clone(), line.status)).collect();
        assert_eq!(kept, expected);
        assert!(messages.windows(2).all(|two| two[0].position < two[1].position));
        let conversation = self.kit().engine.conversation(&caller("t"), self.here()).await.unwrap();
        assert_eq!(conversation.message_count as usize, expected.len());
        let running = self.kit().store.running_turns(&caller("t").tenant, self.here()).await.unwrap();
        assert!(running.is_empty());
    }
}

#[test]
fn histories_are_those_of_a_sequential_model() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cases = if std::env::var_os("SWITCHBOARD_TEST_FULL").is_some() { 1000 } else { 24 };
    let config = ProptestConfig {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(steps in steps())| {
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in steps {
                world.step(step).await;
            }
        });
    });
}
