//! Ids into plans.
//!
//! `id = part ["~" label] *("+" part ["~" label])`, where a part is a known assistant, `fault-…` (at most one fault and one
//! framing), `shape-…` or `flaky-P`. `fault-…` and `flaky-…` may end in `-times-N`. A label means nothing: it makes
//! another id of the same meaning, with counts of its own.

use std::time::Duration;

use super::{Break, Fault, Plan, SHAPES, Twist, Wait};
use crate::script::Framing;

/// The longest text that can be asked for, in bytes.
const HUGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// See [`Plan::parse`].
pub(super) fn plan(provider: &str, assistants: &[&str], id: &str) -> Option<Plan> {
    let mut plan = Plan::default();
    for part in id.split('+') {
        let part = part.split_once('~').map_or(part, |(part, _label)| part);
        if assistants.contains(&part) {
            continue;
        }
        if let Some(name) = part.strip_prefix("shape-") {
            plan.shapes.push(shape(provider, name)?);
            continue;
        }
        let (part, times) = match part.rsplit_once("-times-") {
            Some((part, times)) => (part, Some(times.parse().ok()?)),
            None => (part, None),
        };
        plan.times = plan.times.or(times);
        if let Some(percent) = part.strip_prefix("flaky-") {
            plan.flaky = Some(percent.parse().ok().filter(|percent| *percent <= 100)?);
        } else if let Some(name) = part.strip_prefix("fault-framing-") {
            plan.framing = framing(name)?;
        } else if plan.fault == Fault::None {
            plan.fault = fault(part.strip_prefix("fault-")?)?;
        } else {
            return None;
        }
    }
    Some(plan)
}

fn shape(provider: &str, name: &str) -> Option<&'static str> {
    let found =
        SHAPES.iter().find(|(owner, shape, _)| (owner.is_empty() || *owner == provider) && *shape == name);
    found.map(|(_, shape, _)| *shape)
}

fn framing(name: &str) -> Option<Framing> {
    Some(match name {
        "cr" => Framing::Cr,
        "crlf" => Framing::Crlf,
        "bom" => Framing::Bom,
        "no-space" => Framing::NoSpace,
        "several-data" => Framing::SeveralData,
        "comments" => Framing::Comments,
        "no-blank-end" => Framing::NoBlankEnd,
        "no-blanks" => Framing::NoBlanks,
        "one-byte" => Framing::OneByte,
        "split" => Framing::SplitCharacters,
        _ => return None,
    })
}

fn fault(name: &str) -> Option<Fault> {
    Some(match name {
        "too-long" => Fault::TooLong,
        "content-filter" => Fault::Filtered,
        "success-false" => Fault::ErrorUnder200,
        "redirect" => Fault::Redirect,
        "reset" => Fault::ResetBefore,
        "close" => Fault::CloseBefore,
        "silence" => Fault::Silence,
        "headers-only" => Fault::HeadersOnly,
        "json-for-stream" => Fault::JsonForStream,
        "stream-for-json" => Fault::StreamForJson,
        "label-text" => Fault::Label(Some("text/plain; charset=utf-8")),
        "label-json" => Fault::Label(Some("application/json")),
        "label-events" => Fault::Label(Some("text/event-stream")),
        "label-none" => Fault::Label(None),
        "text-as-events" => Fault::TextAsEvents,
        "empty-body" => Fault::EmptyBody,
        "empty-text" => Fault::Text(Twist::Empty),
        "no-text" => Fault::Text(Twist::Absent),
        "endless-line" => Fault::EndlessLine,
        "cumulative" => Fault::Text(Twist::Cumulative),
        "final-differs" => Fault::Text(Twist::FinalDiffers),
        "big-frame" => Fault::Text(Twist::BigFrame),
        "finish-length" => Fault::Text(Twist::Length),
        "finish-filter" => Fault::Text(Twist::Filter),
        _ => return counted(name).or_else(|| refusal(name)),
    })
}

/// Faults whose name ends in a number.
fn counted(name: &str) -> Option<Fault> {
    let (name, number) = name.rsplit_once('-')?;
    let number: u64 = number.parse().ok()?;
    let count = usize::try_from(number).ok()?;
    let time = Duration::from_millis(number);
    Some(match name {
        "code" => Fault::Code(i64::try_from(number).ok()?),
        "html" => Fault::Html(u16::try_from(number).ok().filter(|status| (200..600).contains(status))?),
        "slow-headers" => Fault::SlowHeaders(time),
        "slow-text" => Fault::SlowText(time),
        "slow-pieces" => Fault::SlowPieces(time),
        "pings" => Fault::Pings(time),
        "reset-after" => Fault::After(count, Break::Reset),
        "cut-after" => Fault::After(count, Break::Cut),
        "stall-after" => Fault::After(count, Break::Stall),
        "hold-after" => Fault::Hold(count),
        "end-after" => Fault::After(count, Break::End),
        "garbage-after" => Fault::After(count, Break::Garbage),
        "error-after" => Fault::After(count, Break::Error),
        "huge" => Fault::Text(Twist::Huge(count.min(HUGE_BYTES_MAX))),
        _ => return None,
    })
}

/// `503`, `429-retry-after-5`, `429-reset-5`.
fn refusal(name: &str) -> Option<Fault> {
    let (status, wait) = name.split_once('-').unwrap_or((name, ""));
    let status: u16 = status.parse().ok().filter(|status| (400..600).contains(status))?;
    let wait = if wait.is_empty() {
        Wait::Unsaid
    } else if let Some(seconds) = wait.strip_prefix("retry-after-") {
        Wait::RetryAfter(seconds.parse().ok()?)
    } else if let Some(seconds) = wait.strip_prefix("reset-ms-") {
        Wait::ResetMillis(seconds.parse().ok()?)
    } else {
        Wait::Reset(wait.strip_prefix("reset-")?.parse().ok()?)
    };
    Some(Fault::Status(status, wait))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::TABLE;

    fn read(id: &str) -> Option<Plan> {
        plan("gptunnel", &["ai1"], id)
    }

    #[test]
    fn every_row_of_the_table_can_be_asked_for_and_is_documented() {
        // In the documentation a bracket would be a link.
        let documentation = include_str!("../lib.rs").replace("\\[", "[").replace("\\]", "]");
        for (form, meaning) in TABLE {
            let id = form.replace("STATUS", "503").replace("flaky-P", "flaky-7");
            let id = id
                .strip_suffix("-MS")
                .or(id.strip_suffix("-N"))
                .or(id.strip_suffix("-S"))
                .map_or(id.clone(), |stem| format!("{stem}-7"));
            let plan = read(&id).unwrap_or_else(|| panic!("{id} is not understood"));
            assert_ne!(plan, Plan::default(), "{id}");
            let row = format!("//! | `{form}` | {meaning} |\n");
            assert!(documentation.contains(&row), "lib.rs lacks this row:\n{row}");
        }
        for (provider, shape, meaning) in SHAPES {
            assert!(plan(provider, &[], &format!("shape-{shape}")).is_some_and(|plan| plan.has(shape)));
            let owner = if provider.is_empty() { "all" } else { provider };
            let row = format!("//! | {owner} | `shape-{shape}` | {meaning} |\n");
            assert!(documentation.contains(&row), "lib.rs lacks this row:\n{row}");
        }
    }

    #[test]
    fn parts_join_and_labels_mean_nothing() {
        let plan = read("ai1~a+fault-429-retry-after-5-times-2~b+fault-framing-crlf+shape-json~c").unwrap();
        assert_eq!(plan.fault, Fault::Status(429, Wait::RetryAfter(5)));
        assert_eq!((plan.times, plan.framing), (Some(2), Framing::Crlf));
        assert!(plan.has("json"));
        assert_eq!(read("ai1~other"), Some(Plan::default()));
        for unknown in [
            "",
            "ai2",
            "fault-",
            "fault-399",
            "fault-cut-after",
            "fault-503-times-x",
            "flaky-101",
            "shape-bot-chunks",
            "fault-503+fault-500",
            "fault-html-100",
            "ai1+",
        ] {
            assert_eq!(read(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_fault_ends_after_its_times_and_a_flaky_one_has_its_share() {
        let mut plan = read("fault-503-times-2").unwrap();
        plan.settle(1, 0);
        assert_ne!(plan.fault, Fault::None);
        plan.settle(2, 0);
        assert_eq!(plan.fault, Fault::None);
        let hits = (0..1_000).filter(|call| {
            let mut plan = read("flaky-30").unwrap();
            plan.settle(*call, crate::chance::mix(*call));
            plan.fault != Fault::None
        });
        assert!((200..400).contains(&hits.count()));
    }
}
