//! Users, hosts, OSFs and VMs are added, listed, changed and deleted.

use expect_test::expect;

use crate::installation::Installation;

#[tokio::test]
async fn users_are_added_listed_and_deleted_and_passwords_set() {
    let it = Installation::new().await;
    assert_eq!(it.qa("user list").await.err, "There are no such users.\n");
    let said = it.qa_with("user add login=Ada --password-stdin", "secret\n").await.ok();
    assert_eq!(said, "User added with id 1\n");
    let file = it.file("password", b"other secret\n");
    it.qa(&format!("user add login=bob --password-file {}", file.display())).await.ok();
    let said = it.qa("user add login=eve --random-password").await.ok();
    let (first, second) = said.split_once('\n').unwrap();
    assert_eq!(first, "User added with id 3");
    let password = second.trim().strip_prefix("Password of eve: ").unwrap();
    assert!(password.len() == 20 && password.bytes().all(|b| b.is_ascii_alphanumeric()));
    expect![[r"
        Id | Login
        ---+-------
         1 | ada
         2 | bob
         3 | eve
    "]]
    .assert_eq(&it.qa("user list").await.ok());

    let hash = |login: &'static str| {
        let store = it.store.clone();
        async move {
            let found = store.password_hash(model::TenantId::DEFAULT, login).await.unwrap();
            found.unwrap().1.unwrap()
        }
    };
    let before = hash("ada").await;
    let said = it.qa_with("user passwd user=Ada --password-stdin", "new\n").await.ok();
    assert_eq!(said, "The password of ada was changed.\n");
    assert_ne!(hash("ada").await, before);

    let said = it.qa_with("user add login=ada --password-stdin", "x\n").await.failed(1);
    assert_eq!(said, "qa: user ada exists already\n");
    let said = it.qa_with("user add login=a:b --password-stdin", "x\n").await.failed(1);
    assert!(said.starts_with("qa: `a:b` cannot be a login"), "{said}");
    assert_eq!(it.qa("user block -f login=*b*").await.ok(), "Blocked 1 user.\n");
    assert_eq!(it.qa("user list -q -f blocked=1").await.ok(), " 2 | bob\n".trim_start());
    assert_eq!(it.qa("user unblock --force").await.ok(), "Unblocked 3 users.\n");
    assert!(
        it.store.users(model::TenantId::DEFAULT).await.unwrap().iter().all(|user| !user.blocked)
    );
    assert_eq!(it.qa("user del -f login=*b*").await.ok(), "Deleted 1 user.\n");
    assert_eq!(it.qa("user list -q").await.ok().lines().count(), 2);
    it.end().await;
}

#[tokio::test]
async fn a_password_on_the_command_line_is_refused() {
    let it = Installation::new().await;
    let said = it.qa("user add login=ada password=secret").await.failed(2);
    assert!(said.starts_with("qa: a password on the command line can be read by every user"));
    assert!(!said.contains("secret"));
    let said = it.qa("user add login=ada").await.failed(1);
    assert!(said.starts_with("qa: there is no terminal to ask for the password"), "{said}");
    assert!(it.store.users(model::TenantId::DEFAULT).await.unwrap().is_empty());
    it.end().await;
}

#[tokio::test]
async fn osfs_have_the_original_defaults_and_can_be_changed() {
    let it = Installation::new().await;
    assert_eq!(it.qa("osf add name=desk").await.ok(), "OSF added with id 1\n");
    it.qa("osf add name = big memory = 8g user_storage_size = 20g").await.ok();
    expect![[r"
        Id | Name |  RAM | Overlay | UserHD
        ---+------+------+---------+--------
         1 | desk | 2048 | yes     |      -
         2 | big  | 8192 | yes     |  20480
    "]]
    .assert_eq(&it.qa("osf list").await.ok());
    it.qa("osf edit -f name=big user_storage_size= memory=4096 nesting=no init=own").await.ok();
    assert_eq!(it.qa("osf list -f nesting=1,init=auto").await.ok().lines().count(), 3);
    let json = it.qa("osf list -f id=2 -o json").await.ok();
    let osfs: serde_json::Value = serde_json::from_str(&json).unwrap();
    let wanted = serde_json::json!([
        {
            "id": 2, "name": "big", "memory": 4096, "user_storage_size": null,
            "nesting": false, "init": "own"
        }
    ]);
    assert_eq!(osfs, wanted);
    assert_eq!(it.qa("osf del -f name=big").await.ok(), "Deleted 1 OSF.\n");
    assert_eq!(it.qa("osf add name=desk").await.failed(1), "qa: OSF desk exists already\n");
    it.end().await;
}

#[tokio::test]
async fn hosts_tell_how_they_are() {
    let it = Installation::new().await;
    it.host_lives().await;
    it.qa("host add name=node2 address=192.0.2.2").await.ok();
    let said = it.qa("host list").await;
    expect![[r"
        Id | Name  | Address   | HKD      | Usable RAM | Usable CPU | VMs assigned | Blocked | State
        ---+-------+-----------+----------+------------+------------+--------------+---------+---------
         1 | node1 | 192.0.2.1 | 00:00:00 |       8000 |          4 |            0 | no      | running
         2 | node2 | 192.0.2.2 | -        |          - |          - |            0 | no      | -
    "]]
    .assert_eq(&said.out.replace("00:00:01", "00:00:00"));
    assert_eq!(said.err, "node1: the clock is not synchronised\n");
    it.end().await;
}

#[tokio::test]
async fn a_vm_is_listed_with_all_that_belongs_to_it() {
    let it = Installation::with_a_vm().await;
    expect![[r"
        Id | Name     | User | RealUser | Ip           | OSF  | DI_Tag  | DI | Running DI | Host | State   | L7R | UserState    | Blocked | Expire soft | Expire hard
        ---+----------+------+----------+--------------+------+---------+----+------------+------+---------+-----+--------------+---------+-------------+-------------
         1 | ada-desk | ada  | -        | 10.0.255.254 | desk | default | v1 | -          | -    | stopped | -   | disconnected | no      | -           | -
    "]]
    .assert_eq(&it.qa("vm list").await.ok());
    assert_eq!(it.qa("vm list -f user=bob").await.err, "There are no such virtual machines.\n");

    it.qa("vm edit -f name=ada-desk blocked=1 di_tag=head ip=10.0.0.200").await.ok();
    let json = it.qa("vm list -o json -f blocked=1").await.ok();
    let vms: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&vms[0]["di_tag"], &vms[0]["ip"]), (&"head".into(), &"10.0.0.200".into()));

    let said = it.qa("vm add name=x user=ada osf=desk ip=10.9.9.9").await.failed(1);
    assert_eq!(
        said,
        "qa: 10.9.9.9 is not an address for VMs: they are from 10.0.0.100 up to 10.0.255.255\n"
    );
    let said = it.qa("vm add name=x user=nobody osf=desk").await.failed(1);
    assert_eq!(said, "qa: there is no user nobody\n    `qa user list` shows those there are\n");
    let said = it.qa("user del -f login=ada").await;
    assert_eq!(said.code, 1);
    assert!(said.err.starts_with("qa: ada: user 1 is in use by VM ada-desk"), "{said:?}");
    for (object, filter) in [("user", "login=ada"), ("osf", "name=desk")] {
        let said = it.qa(&format!("{object} del -f {filter} -o json")).await;
        assert_eq!((said.code, said.out.as_str()), (1, "[]\n"), "what stays is not listed");
    }

    it.qa("vm add name=x user=Ada osf_id=1").await.ok();
    it.qa("vm add name=y user_id=1 osf=desk").await.ok();
    for filter in ["memory=2048", "use_overlay=1", "user=ada"] {
        let listed = it.qa(&format!("vm list -q -f {filter}")).await.ok();
        assert_eq!(listed.lines().count(), 3, "{filter}");
    }
    assert_eq!(it.qa("vm list -f user_storage_size=*").await.out, "");
    let said = it.qa("vm list -f vm_pid=7").await.failed(1);
    assert_eq!(said, "qa: filtering by `vm_pid` is not in this version of QVD\n");
    let said = it.qa("vm add name=z user_id=9 osf_id=1").await.failed(1);
    assert_eq!(said, "qa: there is no user 9\n    `qa user list` shows those there are\n");
    it.qa("vm del -f id=2").await.ok();
    it.qa("vm del -f id=3").await.ok();

    let said = it.qa("vm del -f id=1").await;
    assert_eq!(said.out, "Deleted 1 VM.\n");
    let home = it.path("storage/homefs/1-fs");
    assert_eq!(said.err, format!("The home of ada-desk is kept at {}.\n", home.display()));
    it.end().await;
}

#[tokio::test]
async fn every_change_is_in_the_audit() {
    let it = Installation::with_a_vm().await;
    it.qa("vm edit -f id=1 name=desk-of-ada").await.ok();
    let rows = it.store.audit_tail(100).await.unwrap();
    let seen: Vec<(&str, &str)> = rows
        .iter()
        .rev()
        .map(|row| (row.entry.action.as_str(), row.entry.target.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("osf add", "desk"),
            ("di add", "1-small.tar.zst"),
            ("user add", "ada"),
            ("vm add", "ada-desk"),
            ("vm edit", "ada-desk"),
        ]
    );
    let all = format!("{rows:?}");
    assert!(!all.contains("secret") && !all.contains("argon2"), "{all}");
    assert!(it.store.verify_audit().await.unwrap().is_empty());
    it.end().await;
}
