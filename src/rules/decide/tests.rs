//! What each command decides, on a plan in memory.

use serde_json::json;

use super::Subject;
use super::memory::Plan;
use crate::error::Code;
use crate::model::id::Id;
use crate::model::task::Status;

mod claims {
    use super::*;

    #[test]
    fn claim_takes_the_task_and_its_lease() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        assert_eq!(plan.accept("bob", "claim", json!({})), Subject::Claim(Some(task)));
        let now = plan.get(task);
        assert_eq!((now.status, now.owner.as_deref()), (Status::InProgress, Some("bob")));
        assert_eq!(plan.holder(task), Some(("bob".into(), 1)));
        assert_eq!(plan.accept("cara", "claim", json!({})), Subject::Claim(None));
    }

    #[test]
    fn claim_refuses_a_task_held_by_another_agent() {
        let (mut plan, task) = claimed();
        assert_eq!(plan.refusal("bob", "claim", json!({ "id": task })), Code::LeaseHeld);
        assert_eq!(plan.refusal("bob", "task.update", json!({ "id": task, "priority": 1 })), Code::LeaseHeld);
    }

    #[test]
    fn claim_of_an_expired_lease_raises_the_fence() {
        let (mut plan, task) = claimed();
        plan.minutes_pass(61);
        plan.accept("bob", "claim", json!({ "id": task }));
        assert_eq!(plan.holder(task), Some(("bob".into(), 2)));
        assert!(plan.warnings()[0].contains("was in progress by ada"), "{:?}", plan.warnings());
        assert_eq!(plan.refusal("ada", "done", json!({ "id": task })), Code::LeaseLost);
    }

    #[test]
    fn claim_by_the_holder_renews_the_lease() {
        let (mut plan, task) = claimed();
        let before = plan.kinds(task, 0).len();
        plan.accept("ada", "claim", json!({ "id": task }));
        assert_eq!(plan.kinds(task, before), [""; 0], "a renewal stands in the journal alone");
        assert_eq!(plan.holder(task), Some(("ada".into(), 1)));
    }

    #[test]
    fn claim_refuses_a_task_that_is_not_ready() {
        let mut plan = Plan::new();
        let blocker = plan.add("first");
        let blocked = plan.add_with("second", json!({ "blocked_by": [blocker] }));
        let later = plan.add_with("later", json!({ "defer_until": "2099-01-01T00:00:00Z" }));
        plan.add_with("a part", json!({ "parent": blocker }));
        for task in [blocked, later, blocker] {
            assert_eq!(plan.refusal("ada", "claim", json!({ "id": task })), Code::InvalidState);
        }
    }

    #[test]
    fn claim_refuses_a_task_taken_on_another_branch_unless_asked_to_look_here_alone() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        plan.elsewhere.insert(task, "bob has it on branch side".into());
        assert_eq!(plan.refusal("ada", "claim", json!({ "id": task })), Code::InvalidState);
        plan.accept("ada", "claim", json!({ "id": task, "here": true }));
    }

    #[test]
    fn override_passes_the_lease_of_another_and_is_recorded() {
        let (mut plan, task) = claimed();
        let before = plan.kinds(task, 0).len();
        plan.accept("bob", "task.update", json!({ "id": task, "priority": 1, "override": "urgent" }));
        assert_eq!(plan.kinds(task, before), ["LeaseOverride", "TaskUpdated"]);
    }

    #[test]
    fn release_opens_the_task_and_gives_the_lease_back() {
        let (mut plan, task) = claimed();
        assert_eq!(plan.refusal("bob", "release", json!({ "id": task })), Code::LeaseHeld);
        plan.accept("ada", "release", json!({}));
        assert_eq!((plan.get(task).status, plan.get(task).owner), (Status::Open, None));
        assert_eq!(plan.holder(task), None);
    }

    #[test]
    fn lease_id_that_passed_on_is_lost() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        plan.accept("ada", "lease.acquire", json!({ "task_id": task, "ttl": "1m" }));
        let lease = plan.lease_id(task);
        plan.accept("ada", "task.update", json!({ "id": task, "priority": 1, "lease_id": lease }));
        plan.minutes_pass(2);
        let late = json!({ "id": task, "priority": 2, "lease_id": lease });
        assert_eq!(plan.refusal("ada", "task.update", late.clone()), Code::LeaseExpired);
        plan.accept("bob", "lease.acquire", json!({ "task_id": task }));
        assert_eq!(plan.refusal("ada", "task.update", late), Code::LeaseLost);
    }

    #[test]
    fn lease_lives_longer_than_nothing_and_at_most_a_week() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        for ttl in ["0s", "169h"] {
            assert_eq!(plan.refusal("ada", "claim", json!({ "id": task, "ttl": ttl })), Code::Validation, "{ttl}");
        }
    }

    #[test]
    fn required_lease_is_asked_for_by_every_change() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        plan.settings.lease.required = true;
        assert_eq!(plan.refusal("ada", "task.update", json!({ "id": task, "priority": 1 })), Code::LeaseRequired);
        plan.accept("ada", "claim", json!({ "id": task }));
        plan.accept("ada", "task.update", json!({ "id": task, "priority": 1 }));
    }

    #[test]
    fn expected_version_must_be_the_present_one() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        let update = |version: u64| json!({ "id": task, "priority": 1, "expected_version": version });
        assert_eq!(plan.refusal("ada", "task.update", update(2)), Code::Conflict);
        plan.accept("ada", "task.update", update(1));
        assert_eq!(plan.refusal("ada", "task.update", update(1)), Code::Conflict);
    }
}

mod states {
    use super::*;

    /// The moves that each status allows, of a task with nothing around it.
    #[test]
    fn transition_allows_the_moves_of_the_table_alone() {
        use Status::{Archived, Blocked, Cancelled, Completed, InProgress, Open};
        let allowed = |from, to| match from {
            Open => matches!(to, InProgress | Cancelled),
            InProgress => matches!(to, Open | Completed | Cancelled),
            Completed | Cancelled => to == Archived,
            Blocked | Archived => false,
        };
        let ways: [(Status, &[&str]); 5] = [
            (Open, &[]),
            (InProgress, &["in_progress"]),
            (Completed, &["in_progress", "completed"]),
            (Cancelled, &["cancelled"]),
            (Archived, &["cancelled", "archived"]),
        ];
        for (from, way) in ways {
            for to in [Open, InProgress, Blocked, Completed, Cancelled, Archived] {
                let mut plan = Plan::new();
                let task = plan.add("one");
                for status in way {
                    plan.accept("ada", "task.transition", json!({ "id": task, "status": status }));
                }
                let moved = plan.run("ada", "task.transition", json!({ "id": task, "status": to }));
                assert_eq!(moved.is_ok(), from == to || allowed(from, to), "{from} to {to}: {moved:?}");
                assert_eq!(plan.get(task).status, if moved.is_ok() { to } else { from });
            }
        }
    }

    #[test]
    fn done_needs_met_criteria_finished_blockers_and_finished_children() {
        for hindrance in ["blockers", "children", "acceptance"] {
            let mut plan = Plan::new();
            let other = plan.add("other");
            let fields = if hindrance == "acceptance" { json!({ "acceptance": ["it works"] }) } else { json!({}) };
            let task = plan.add_with("one", fields);
            plan.accept("ada", "claim", json!({ "id": task }));
            match hindrance {
                "blockers" => {
                    plan.accept("ada", "task.relate", edge(other, "blocks", task));
                    let start = json!({ "id": task, "status": "in_progress", "force": "it can be faked" });
                    plan.accept("ada", "task.transition", start);
                }
                "children" => drop(plan.accept("ada", "task.update", json!({ "id": other, "parent": task }))),
                _ => {}
            }
            assert_eq!(plan.refusal("ada", "done", json!({ "id": task })), Code::InvalidState, "{hindrance}");
            assert_eq!(plan.refusal("ada", "done", json!({ "id": task, "force": " " })), Code::Validation);
            plan.accept("ada", "done", json!({ "id": task, "force": "no time" }));
            assert_eq!((plan.get(task).status, plan.holder(task)), (Status::Completed, None), "{hindrance}");
        }
    }

    #[test]
    fn blocked_task_begins_only_by_force() {
        let mut plan = Plan::new();
        let (blocker, task) = (plan.add("first"), plan.add("second"));
        plan.accept("ada", "task.block", json!({ "id": task, "by": blocker }));
        let start = json!({ "id": task, "status": "in_progress" });
        assert_eq!(plan.refusal("ada", "task.transition", start), Code::InvalidState);
        let forced = json!({ "id": task, "status": "in_progress", "force": "it can be faked" });
        plan.accept("ada", "task.transition", forced);
        assert_eq!((plan.get(task).status, plan.get(task).owner.as_deref()), (Status::InProgress, Some("ada")));
    }

    #[test]
    fn reopen_needs_a_reason_and_a_closed_task() {
        let (mut plan, task) = claimed();
        let reopen = |reason: &str| json!({ "id": task, "reason": reason });
        assert_eq!(plan.refusal("ada", "task.reopen", reopen("why not")), Code::InvalidState);
        plan.accept("ada", "done", json!({}));
        assert_eq!(plan.refusal("ada", "task.reopen", reopen(" ")), Code::Validation);
        plan.accept("ada", "task.reopen", reopen("a part is missing"));
        assert_eq!(plan.get(task).status, Status::Open);
    }

    #[test]
    fn archive_takes_closed_tasks_alone() {
        let (mut plan, task) = claimed();
        assert_eq!(plan.refusal("ada", "task.archive", json!({ "id": task })), Code::InvalidState);
        plan.accept("ada", "done", json!({}));
        plan.accept("ada", "task.archive", json!({ "id": task }));
        assert_eq!(plan.get(task).status, Status::Archived);
    }
}

mod blocking {
    use super::*;

    #[test]
    fn block_marks_an_open_task_and_unblock_opens_it() {
        let mut plan = Plan::new();
        let (blocker, task) = (plan.add("first"), plan.add("second"));
        plan.accept("ada", "task.block", json!({ "id": task, "by": blocker }));
        assert_eq!((plan.get(task).status, plan.get(task).blockers()), (Status::Blocked, vec![blocker]));
        plan.accept("ada", "task.unblock", json!({ "id": task, "by": [blocker] }));
        assert_eq!((plan.get(task).status, plan.get(task).blockers()), (Status::Open, vec![]));
    }

    #[test]
    fn finishing_the_last_blocker_opens_the_task() {
        let mut plan = Plan::new();
        let (first, second) = (plan.add("first"), plan.add("second"));
        let task = plan.add_with("third", json!({ "blocked_by": [first, second] }));
        plan.accept("ada", "task.transition", json!({ "id": first, "status": "cancelled" }));
        assert_eq!(plan.get(task).status, Status::Blocked);
        plan.accept("ada", "claim", json!({ "id": second }));
        plan.accept("ada", "done", json!({ "id": second }));
        assert_eq!(plan.get(task).status, Status::Open);
        plan.accept("ada", "task.reopen", json!({ "id": second, "reason": "not yet" }));
        assert_eq!(plan.get(task).status, Status::Blocked);
    }

    #[test]
    fn a_cycle_of_blockers_is_refused_at_any_length() {
        let mut plan = Plan::new();
        let tasks = ["one", "two", "three"].map(|title| plan.add(title));
        assert_eq!(plan.refusal("ada", "task.relate", edge(tasks[0], "blocks", tasks[0])), Code::InvalidState);
        plan.accept("ada", "task.relate", edge(tasks[0], "blocks", tasks[1]));
        assert_eq!(plan.refusal("ada", "task.relate", edge(tasks[1], "blocks", tasks[0])), Code::InvalidState);
        plan.accept("ada", "task.relate", edge(tasks[1], "blocks", tasks[2]));
        assert_eq!(plan.refusal("ada", "task.relate", edge(tasks[2], "blocks", tasks[0])), Code::InvalidState);
        plan.accept("ada", "task.relate", edge(tasks[2], "relates_to", tasks[0]));
    }

    #[test]
    fn a_cycle_of_parents_is_refused() {
        let mut plan = Plan::new();
        let parent = plan.add("whole");
        let child = plan.add_with("part", json!({ "parent": parent }));
        assert_eq!(plan.refusal("ada", "task.update", json!({ "id": parent, "parent": child })), Code::InvalidState);
        let other = plan.add("another whole");
        plan.accept("ada", "task.update", json!({ "id": child, "parent": other }));
        assert_eq!(plan.get(child).parent(), Some(other));
    }

    #[test]
    fn an_edge_that_closes_a_merged_cycle_does_not_count() {
        let mut ours = Plan::new();
        let (one, two) = (ours.add("one"), ours.add("two"));
        let mut theirs = ours.fork();
        ours.accept("ada", "task.relate", edge(one, "blocks", two));
        theirs.accept("bob", "task.relate", edge(two, "blocks", one));
        ours.merge(&theirs);
        assert_eq!(ours.refusal("ada", "claim", json!({ "id": two })), Code::InvalidState);
        ours.accept("ada", "claim", json!({ "id": one }));
    }

    #[test]
    fn unrelate_removes_the_edge_it_names() {
        let mut plan = Plan::new();
        let (one, two) = (plan.add("one"), plan.add("two"));
        plan.accept("ada", "task.relate", edge(one, "relates_to", two));
        let made = plan.newest(one);
        plan.accept("ada", "task.unrelate", json!({ "id": one, "relationship": made }));
        assert!(plan.get(one).relationships.is_empty());
    }
}

mod acceptance {
    use super::*;

    #[test]
    fn verify_marks_criteria_by_number_and_by_words() {
        let (mut plan, task) = with_criteria();
        plan.accept("ada", "task.verify", json!({ "id": task, "criterion": ["2"] }));
        assert_eq!(plan.get(task).unmet().collect::<Vec<_>>(), ["it builds"]);
        plan.accept("ada", "task.verify", json!({ "id": task, "criterion": ["it builds"] }));
        plan.accept("ada", "task.verify", json!({ "id": task, "criterion": ["1"], "unmet": true }));
        assert_eq!(plan.get(task).unmet().collect::<Vec<_>>(), ["it builds"]);
        assert_eq!(plan.refusal("ada", "task.verify", json!({ "id": task, "criterion": ["3"] })), Code::NotFound);
    }

    #[test]
    fn review_passes_only_with_all_criteria_met() {
        let (mut plan, task) = with_criteria();
        assert_eq!(plan.refusal("ada", "task.verify", json!({ "id": task })), Code::InvalidState);
        plan.accept("ada", "task.verify", json!({ "id": task, "fail": true }));
        plan.accept("ada", "task.verify", json!({ "id": task, "all": true }));
        plan.accept("ada", "task.verify", json!({ "id": task }));
        assert!(plan.get(task).verified.is_some_and(|review| review.passed));
    }

    #[test]
    fn a_mark_that_stands_needs_no_event() {
        let (mut plan, task) = with_criteria();
        plan.accept("ada", "task.verify", json!({ "id": task, "all": true }));
        let before = plan.kinds(task, 0).len();
        plan.accept("ada", "task.verify", json!({ "id": task, "all": true }));
        assert_eq!(plan.kinds(task, before), [""; 0]);
    }

    fn with_criteria() -> (Plan, Id) {
        let mut plan = Plan::new();
        let task = plan.add_with("one", json!({ "acceptance": ["it builds", "it runs"] }));
        (plan, task)
    }
}

mod undo {
    use super::*;

    #[test]
    fn undo_puts_the_earlier_value_back() {
        let mut plan = Plan::new();
        let task = plan.add_with("one", json!({ "priority": 1 }));
        plan.accept("ada", "task.update", json!({ "id": task, "priority": 3, "title": "two" }));
        let event = plan.newest(task);
        plan.accept("ada", "undo", json!({ "event": event }));
        let now = plan.get(task).fields;
        assert_eq!((now.title.as_str(), now.priority), ("one", 1));
        assert_eq!(plan.refusal("ada", "undo", json!({ "event": event })), Code::Conflict, "it is undone already");
    }

    #[test]
    fn undo_leaves_a_field_that_was_written_again() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        plan.accept("ada", "task.update", json!({ "id": task, "priority": 3, "title": "two" }));
        let event = plan.newest(task);
        plan.accept("bob", "task.update", json!({ "id": task, "title": "three" }));
        plan.accept("ada", "undo", json!({ "event": event }));
        let now = plan.get(task).fields;
        assert_eq!((now.title.as_str(), now.priority), ("three", 0));
        assert!(plan.warnings()[0].contains("written again by bob"), "{:?}", plan.warnings());
    }

    #[test]
    fn undo_of_a_creation_cancels() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        let event = plan.newest(task);
        plan.accept("ada", "undo", json!({ "event": event }));
        assert_eq!(plan.get(task).status, Status::Cancelled);
    }

    #[test]
    fn undo_of_a_completion_asks_for_the_right_that_reopening_asks_for() {
        let (mut plan, task) = claimed();
        plan.accept("ada", "done", json!({ "id": task }));
        let event = plan.newest_of(task, "TaskStatusChanged");
        plan.permit("bob", &["claim", "complete", "relate"]);
        assert_eq!(plan.refusal("bob", "undo", json!({ "event": event })), Code::Unauthorized);
        assert_eq!(plan.refusal("bob", "task.reopen", json!({ "id": task, "reason": "no" })), Code::Unauthorized);
        plan.permit("ada", &["claim"]);
        plan.permit("bob", &["claim", "update"]);
        plan.accept("bob", "undo", json!({ "event": event }));
        assert_eq!(plan.get(task).status, Status::InProgress);
    }

    #[test]
    fn undo_of_a_blocker_unblocks() {
        let mut plan = Plan::new();
        let (blocker, task) = (plan.add("first"), plan.add("second"));
        plan.accept("ada", "task.relate", edge(blocker, "blocks", task));
        let edge = *plan.get(task).relationships.keys().next().expect("an edge");
        plan.accept("ada", "undo", json!({ "event": edge }));
        assert_eq!((plan.get(task).status, plan.get(task).blockers()), (Status::Open, vec![]));
    }

    #[test]
    fn undo_refuses_what_cannot_be_taken_back() {
        let mut plan = Plan::new();
        let task = plan.add("one");
        plan.accept("ada", "context.add", json!({ "task_id": task, "content": "a note" }));
        let note = plan.newest(task);
        assert_eq!(plan.refusal("ada", "undo", json!({ "event": note })), Code::InvalidState);
    }
}

mod conflicts {
    use super::*;

    #[test]
    fn restore_writes_the_value_that_lost() {
        let (mut plan, task, lost, stands) = titles_in_conflict();
        plan.accept("ada", "conflicts.restore", json!({ "event": lost.0 }));
        assert_eq!(plan.get(task).fields.title, lost.1);
        let again = json!({ "event": stands.0, "field": "title" });
        assert_eq!(plan.refusal("ada", "conflicts.restore", again), Code::InvalidState, "nothing is in conflict");
    }

    #[test]
    fn keep_ends_the_conflict_for_the_value_that_stands() {
        let (mut plan, task, lost, stands) = titles_in_conflict();
        plan.accept("ada", "conflicts.keep", json!({ "event": lost.0 }));
        assert_eq!(plan.get(task).fields.title, stands.1);
        assert_eq!(plan.refusal("ada", "conflicts.keep", json!({ "event": lost.0 })), Code::InvalidState);
    }

    #[test]
    fn restore_names_the_fields_that_an_event_has_lost() {
        let (mut plan, _, lost, stands) = titles_in_conflict();
        let field = json!({ "event": lost.0, "field": "priority" });
        assert_eq!(plan.refusal("ada", "conflicts.restore", field), Code::NotFound);
        assert_eq!(plan.refusal("ada", "conflicts.restore", json!({ "event": stands.0 })), Code::InvalidState);
    }

    /// Two clones give a task a title each; the event and title that lost, and those that stand.
    fn titles_in_conflict() -> (Plan, Id, (Id, String), (Id, String)) {
        let mut ours = Plan::new();
        let task = ours.add("one");
        let mut theirs = ours.fork();
        ours.accept("ada", "task.update", json!({ "id": task, "title": "ours" }));
        theirs.accept("bob", "task.update", json!({ "id": task, "title": "theirs" }));
        let (first, second) = ((ours.newest(task), "ours".to_owned()), (theirs.newest(task), "theirs".to_owned()));
        ours.merge(&theirs);
        let (lost, stands) = if ours.get(task).fields.title == "ours" { (second, first) } else { (first, second) };
        (ours, task, lost, stands)
    }
}

mod permissions {
    use super::*;

    #[test]
    fn each_command_asks_for_its_right() {
        type Args = fn(Id) -> serde_json::Value;
        let rights: [(&str, &str, Args); 7] = [
            ("task.create", "create", |_| json!({ "title": "more" })),
            ("task.update", "update", |id| json!({ "id": id, "priority": 1 })),
            ("context.add", "comment", |id| json!({ "task_id": id, "content": "a note" })),
            ("claim", "claim", |id| json!({ "id": id })),
            ("task.verify", "verify", |id| json!({ "id": id })),
            ("task.transition", "cancel", |id| json!({ "id": id, "status": "cancelled" })),
            ("task.unblock", "relate", |id| json!({ "id": id })),
        ];
        for (op, right, args) in rights {
            let mut plan = Plan::new();
            let task = plan.add("one");
            let all_others: Vec<&str> = rights.iter().map(|(_, right, _)| *right).filter(|one| *one != right).collect();
            plan.permit("bob", &all_others);
            assert_eq!(plan.refusal("bob", op, args(task)), Code::Unauthorized, "{op}");
            plan.permit("bob", &[right]);
            plan.accept("bob", op, args(task));
        }
    }

    #[test]
    fn force_and_override_ask_for_their_own_right() {
        let mut plan = Plan::new();
        let task = plan.add_with("one", json!({ "acceptance": ["it works"] }));
        plan.permit("bob", &["claim", "complete", "update"]);
        plan.permit("ada", &["admin"]);
        plan.accept("bob", "claim", json!({ "id": task }));
        let forced = json!({ "id": task, "force": "no time" });
        assert_eq!(plan.refusal("bob", "done", forced.clone()), Code::Unauthorized);
        let passed = json!({ "id": task, "priority": 1, "override": "urgent" });
        plan.permit("cara", &["update"]);
        assert_eq!(plan.refusal("cara", "task.update", passed.clone()), Code::Unauthorized);
        plan.accept("ada", "task.update", passed);
        plan.permit("bob", &["claim", "complete", "override"]);
        plan.accept("bob", "done", forced);
    }

    #[test]
    fn claim_refuses_an_agent_without_the_right_that_the_task_needs() {
        let mut plan = Plan::new();
        let task = plan.add_with("one", json!({ "need_perm": "review" }));
        plan.permit("bob", &["claim"]);
        assert_eq!(plan.accept("bob", "claim", json!({})), Subject::Claim(None));
        assert_eq!(plan.refusal("bob", "claim", json!({ "id": task })), Code::Unauthorized);
        plan.permit("bob", &["claim", "review"]);
        plan.accept("bob", "claim", json!({ "id": task }));
    }
}

/// A plan with one task, which ada holds.
fn claimed() -> (Plan, Id) {
    let mut plan = Plan::new();
    let task = plan.add("one");
    plan.accept("ada", "claim", json!({ "id": task }));
    (plan, task)
}

fn edge(from: Id, kind: &str, to: Id) -> serde_json::Value {
    json!({ "id": from, "to": to, "type": kind })
}
