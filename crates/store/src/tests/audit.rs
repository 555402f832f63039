//! The audit's chains.

use sqlx::AssertSqlSafe;

use super::{Database, NOW};
use crate::{AuditEntry, BrokenChain, Store, database::change};

pub(super) fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        at: NOW,
        who: "admin".into(),
        from: "socket".into(),
        action: action.into(),
        target: "node1".into(),
        before: None,
        after: Some("blocked".into()),
        result: "done".into(),
    }
}

/// Does what no function of the store does.
async fn tamper(store: &Store, sql: &str) -> crate::Result<()> {
    change!(store, on => {
        sqlx::query(AssertSqlSafe(sql)).execute(&mut *on).await?;
    });
    Ok(())
}

pub(super) async fn chains_hold_and_show_any_change(Database { store, .. }: Database) {
    assert_eq!(store.audit_tail(5).await.unwrap(), []);
    for number in 1..=4 {
        store.audit("api@node1", &entry(&format!("host.add {number}"))).await.unwrap();
    }
    assert_eq!(store.verify_audit().await.unwrap(), []);
    let tail = store.audit_tail(2).await.unwrap();
    assert_eq!(tail.iter().map(|row| row.sequence).collect::<Vec<_>>(), [4, 3]);
    assert_eq!(tail[0].entry, entry("host.add 4"));
    assert_eq!(tail[0].writer, "api@node1");

    let broken = |sequence| [BrokenChain { writer: "api@node1".into(), sequence }];
    for (tampered, undone, first_bad) in [
        ("UPDATE audit SET who = 'eve' WHERE sequence = 2", "who = 'admin'", 2),
        ("UPDATE audit SET at = at + 1 WHERE sequence = 3", "at = at - 1", 3),
        ("UPDATE audit SET value_after = NULL WHERE sequence = 1", "value_after = 'blocked'", 1),
        // What moves from one column to the next is not the same.
        (
            "UPDATE audit SET value_before = 'blocked', value_after = NULL WHERE sequence = 1",
            "value_before = NULL, value_after = 'blocked'",
            1,
        ),
        ("UPDATE audit SET value_before = '' WHERE sequence = 4", "value_before = NULL", 4),
        ("UPDATE audit SET sequence = 9 WHERE sequence = 2", "sequence = 2", 2),
    ] {
        tamper(&store, tampered).await.unwrap();
        assert_eq!(store.verify_audit().await.unwrap(), broken(first_bad), "{tampered}");
        let back = format!("UPDATE audit SET {undone} WHERE sequence = {first_bad}");
        let back = back.replace("sequence = 2 WHERE sequence = 2", "sequence = 2 WHERE sequence = 9");
        tamper(&store, &back).await.unwrap();
        assert_eq!(store.verify_audit().await.unwrap(), [], "{back}");
    }
    tamper(&store, "DELETE FROM audit WHERE sequence = 4").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), broken(4));
    tamper(&store, "DELETE FROM audit_heads").await.unwrap();
    assert_eq!(store.verify_audit().await.unwrap(), broken(1));
}

pub(super) async fn writers_have_chains_of_their_own(Database { store, .. }: Database) {
    for action in ["a", "b"] {
        store.audit("api@node1", &entry(action)).await.unwrap();
        store.audit("hkd@node1", &entry(action)).await.unwrap();
    }
    assert_eq!(store.verify_audit().await.unwrap(), []);
    tamper(&store, "DELETE FROM audit WHERE writer = 'hkd@node1' AND sequence = 1").await.unwrap();
    let broken = BrokenChain { writer: "hkd@node1".into(), sequence: 1 };
    assert_eq!(store.verify_audit().await.unwrap(), [broken]);
}
