//! Who may not speak to the api, and what it answers to those who speak strangely.

use std::os::unix::fs::PermissionsExt;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use crate::installation::{Installation, qa};

/// A user that exists nowhere.
const STRANGER: u32 = 61_234;

#[tokio::test]
async fn when_there_is_no_api_it_says_how_to_start_it() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let said = qa(&socket, "vm list", "", None).await.failed(1);
    assert_eq!(
        said,
        format!(
            "qa: the api does not run (there is no one at {})\n    \
             start it with `qvd all`\n",
            socket.display()
        )
    );
    // A socket that a dead api left behind.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let said = qa(&socket, "vm list", "", None).await.failed(1);
    assert!(said.starts_with("qa: the api does not run"), "{said}");
    assert_eq!(qa(&socket, "vm list -q", "", None).await.failed(1), "");
}

#[tokio::test]
async fn another_user_is_refused_by_the_socket_and_by_the_api() {
    if !rustix_is_root() {
        println!("skipped: only root can become somebody else");
        return;
    }
    let it = Installation::new().await;
    let socket = it.path("admin.sock");
    let mode = |mode| std::fs::set_permissions(&socket, PermissionsExt::from_mode(mode)).unwrap();
    // The program itself may lie where a stranger cannot go.
    let program = it.path("qa");
    std::fs::copy(crate::installation::program().await, &program).unwrap();
    let ask = || async {
        tokio::process::Command::new(&program)
            .args(["user", "list"])
            .env("QVD_API_SOCKET", &socket)
            .uid(STRANGER)
            .output()
            .await
            .unwrap()
    };
    mode(0o600);
    let output = ask().await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        text,
        format!("qa: you may not speak to the api at {}\n    run qa as root\n", socket.display())
    );
    mode(0o666);
    let output = ask().await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text, "qa: only root may administer this installation\n    run qa as root\n");
    assert_eq!(output.status.code(), Some(1));
    it.end().await;
}

/// Sends a request as it is and returns the whole answer.
async fn raw(it: &Installation, request: &str) -> String {
    let mut stream = UnixStream::connect(it.path("admin.sock")).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn request(method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "{method} /api/v1/{path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn problems_are_problem_json_with_a_code() {
    let it = Installation::new().await;
    let cases = [
        (request("GET", "nothing", "", ""), 404, "no-such-path"),
        (request("DELETE", "users", "", ""), 405, "no-such-method"),
        (request("GET", "vms/x", "", ""), 404, "no-such-path"),
        (request("GET", "vms/9", "", ""), 404, "not-found"),
        (request("GET", "vms?filter=nam=x", "", ""), 422, "malformed"),
        (request("GET", "vms?fliter=x", "", ""), 422, "malformed"),
        (request("POST", "osfs", "", "{\"name\":\"x\",\"memroy\":1}"), 422, "malformed"),
        (request("POST", "osfs", "", "{"), 422, "malformed"),
        (request("POST", "osfs", "", "{\"name\":\"../x\"}"), 422, "malformed"),
        (request("POST", "dis?osf=x&file=x.tar", "", "abc"), 404, "not-found"),
        (request("PUT", "ssl", "", "{\"key\":\"x\",\"cert\":\"y\"}"), 422, "malformed"),
    ];
    for (request, status, code) in cases {
        let answer = raw(&it, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert!(answer.contains("content-type: application/problem+json"), "{answer}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let problem: wire::rest::Problem = serde_json::from_str(body).unwrap();
        assert_eq!((problem.code.as_str(), problem.status), (code, status), "{request}");
    }
    it.end().await;
}

#[tokio::test]
async fn a_change_may_be_bound_to_what_was_seen() {
    let it = Installation::with_a_vm().await;
    let answer = raw(&it, &request("GET", "vms/1", "", "")).await;
    assert!(answer.contains("etag: \"0\""), "{answer}");
    let stale = raw(&it, &request("POST", "vms/1/start", "if-match: \"7\"\r\n", "")).await;
    assert!(stale.starts_with("HTTP/1.1 412 "), "{stale}");
    // Of several that saw the same, one gets what it wants.
    let fresh = request("POST", "vms/1/start", "if-match: \"0\"\r\n", "");
    let answers = futures::future::join_all((0..8).map(|_| raw(&it, &fresh))).await;
    let (won, lost): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.starts_with("HTTP/1.1 200 "));
    assert!(won.len() == 1 && won[0].contains("etag: \"1\""), "{won:?}");
    assert!(lost.iter().all(|answer| answer.starts_with("HTTP/1.1 412 ")), "{lost:?}");
    for tag in ["\"0\"", "W/\"1\"", "1", "\"x\""] {
        let stop = request("POST", "vms/1/stop", &format!("if-match: {tag}\r\n"), "");
        assert!(raw(&it, &stop).await.starts_with("HTTP/1.1 412 "), "{tag}");
    }
    let any = raw(&it, &request("POST", "vms/1/stop", "if-match: *\r\n", "")).await;
    assert!(any.contains("etag: \"2\""), "{any}");

    // Where it would not be obeyed it is refused.
    let cases = [("PATCH", "vms/1"), ("DELETE", "vms/1"), ("PUT", "ssl"), ("POST", "users")];
    for (method, path) in cases {
        let answer = raw(&it, &request(method, path, "if-match: \"2\"\r\n", "{}")).await;
        assert!(answer.contains("\"code\":\"no-if-match\""), "{method} {path}: {answer}");
    }
    let edited = raw(&it, &request("PATCH", "vms/1", "", "{\"name\":\"other\"}")).await;
    assert!(edited.contains("etag: \"2\""), "{edited}");
    it.end().await;
}

#[tokio::test]
async fn a_waiting_request_does_not_hold_up_the_end() {
    let it = Installation::with_a_vm().await;
    it.qa("vm start -f id=1").await.ok();
    let path = it.path("admin.sock");
    let mut stream = UnixStream::connect(path).await.unwrap();
    let line = request("GET", "vms/1?wait=running&timeout=600", "", "");
    stream.write_all(line.as_bytes()).await.unwrap();
    // One that is answered at once shows that the first was taken in.
    raw(&it, &request("GET", "status", "", "")).await;
    it.end().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"state\":\"starting\""), "{answer}");
}

fn rustix_is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}
