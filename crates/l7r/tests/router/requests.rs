//! Requests that are answered: recorded ones of real clients, and how often they are.

use wire::broker::{Answer, Credentials, Request, VmLine};

use crate::{
    client::{Client, Ending},
    stage::{Stage, recorded, soon},
};

fn ann() -> Credentials {
    Credentials {
        login: "ann".to_owned(),
        password: "pass:word".to_owned(),
        address: "127.0.0.1".to_owned(),
    }
}

fn desk() -> Answer {
    let (name, state) = ("desk-7".to_owned(), "running".to_owned());
    Answer::Vms { vms: vec![VmLine { id: 7, name, state, blocked: false }] }
}

const LIST: &str = r#"[{"id":7,"name":"desk-7","state":"running","blocked":0,"is_application":0}]"#;

#[tokio::test]
async fn the_lists_of_real_clients_are_answered_in_two_records() {
    let stage = Stage::new();
    for name in ["perl-list.http", "libc-list.http"] {
        let mut client = Client::new(stage.address).await;
        assert_eq!(client.stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.send(&recorded(name)).await;
        let mut api = stage.api().await;
        assert_eq!(api.hear::<Request>().await, Request::List { who: ann() });
        api.say(&desk()).await;
        let (head, body) = client.answer().await;
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 75\r\n\r\n"
        );
        assert_eq!(body, LIST);
        assert!(api.try_hear::<Request>().await.is_none());
    }
}

#[tokio::test]
async fn a_list_a_stop_and_a_ping_follow_one_another_on_one_connection() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("qt-list-stop.http")).await;
    let mut api = stage.api().await;
    assert_eq!(api.hear::<Request>().await, Request::List { who: ann() });
    api.say(&desk()).await;
    assert_eq!(client.answer().await.1, LIST);

    let mut api = stage.api().await;
    assert_eq!(api.hear::<Request>().await, Request::Stop { who: ann(), vm: Some(7) });
    api.say(&Answer::Progress { text: "Stopping".to_owned() }).await;
    assert_eq!(client.record().await, "HTTP/1.1 102 Processing\r\nX-QVD-VM-Info: Stopping\r\n\r\n");
    api.say(&Answer::Done { text: "Machine stopped".to_owned() }).await;
    let (head, body) = final_answer(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"), "{head}");
    assert_eq!(body, "Machine stopped\r\n");

    client.send(b"GET /qvd/ping HTTP/1.1\n\n").await;
    let mut api = stage.api().await;
    assert_eq!(api.hear::<Request>().await, Request::Ping);
    api.say(&Answer::Done { text: String::new() }).await;
    assert_eq!(client.answer().await.1, "I am alive!\r\n");
}

/// The next answer that is no `102`.
pub(crate) async fn final_answer(client: &mut Client) -> (String, String) {
    loop {
        let head = client.record().await;
        if !head.starts_with("HTTP/1.1 102 ") {
            return (head, client.record().await);
        }
    }
}

#[tokio::test]
async fn a_stop_without_a_number_is_passed_on() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("libc-stop.http")).await;
    let mut api = stage.api().await;
    assert_eq!(api.hear::<Request>().await, Request::Stop { who: ann(), vm: None });
    let text = "parameter id is missing".to_owned();
    api.say(&Answer::Refused { status: 422, text, retry_after: None }).await;
    assert!(final_answer(&mut client).await.0.starts_with("HTTP/1.1 422 Unprocessable Entity\r\n"));
}

#[tokio::test]
async fn refusals_keep_their_status_and_the_connection() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    for (status, retry_after, expected) in [
        (401, None, "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"QVD\"\r\n"),
        (429, Some(9), "429 Too Many Requests\r\nRetry-After: 9\r\n"),
        (503, None, "503 Service Unavailable\r\nContent-Type: text/plain\r\n"),
    ] {
        client.send(&recorded("perl-list.http")).await;
        let mut api = stage.api().await;
        api.hear::<Request>().await;
        api.say(&Answer::Refused { status, text: "because".to_owned(), retry_after }).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{head}");
        assert_eq!(body, "because\r\n");
    }
}

#[tokio::test]
async fn a_connect_that_is_refused_ends_the_connection() {
    let stage = Stage::new();
    let login = "Authorization: Basic YW5uOnBhc3M6d29yZA==";
    let unauthorized = Answer::Refused { status: 401, text: "no".to_owned(), retry_after: None };
    // A wrong password is said first, whatever else is wrong.
    for (query, answer, expected) in [
        ("?id=7&shell=1", Some(unauthorized.clone()), "401 Unauthorized"),
        ("?id=7&shell=1", Some(desk()), "403 Forbidden"),
        ("", Some(desk()), "422 Unprocessable Entity"),
        ("?id=7", None, "401 Unauthorized"),
    ] {
        let mut client = Client::new(stage.address).await;
        let upgrade = "Connection: Upgrade\nUpgrade: QVD/1.0";
        let who = answer.as_ref().map_or("X: y", |_| login);
        let request = format!("GET /qvd/connect_to_vm{query} HTTP/1.1\n{who}\n{upgrade}\n\n");
        client.send(request.as_bytes()).await;
        if let Some(answer) = answer {
            let mut api = stage.api().await;
            assert_eq!(api.hear::<Request>().await, Request::List { who: ann() });
            api.say(&answer).await;
        }
        let (head, _) = client.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{head}");
        assert_eq!(client.ending().await, Ending::Clean);
    }
}

#[tokio::test]
async fn what_needs_no_api_is_answered_without_it() {
    let mut stage = Stage::new();
    stage.api_stops();
    let mut client = Client::new(stage.address).await;
    for (request, expected) in [
        ("GET / HTTP/1.1\n\n", "404 Not Found"),
        ("GET /qvd/list_of_vm HTTP/1.1\n\n", "401 Unauthorized"),
        ("GET /qvd/ping HTTP/1.1\nOrigin: https://example.com\n\n", "403 Forbidden"),
        ("GET /qvd/ping HTTP/1.1\n\n", "503 Service Unavailable"),
    ] {
        client.send(request.as_bytes()).await;
        let (head, body) = client.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{head}");
        assert!(body.len() > 2, "a body is never empty");
    }
    client.send(b"GET / HTTP/1.1\nConnection: close\n\n").await;
    assert_eq!(client.ending().await, Ending::Clean);
}

#[tokio::test]
async fn nonsense_is_answered_once_and_the_connection_closed() {
    let stage = Stage::new();
    for (request, expected) in [
        (b"GET / HTTP/1.0\r\n\r\n".to_vec(), "505 HTTP Version Not Supported"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec(), "400 Bad Request"),
        (vec![b'x'; 20_000], "431 Request Header Fields Too Large"),
        (b"POST /qvd/ping HTTP/1.1\nContent-Length: 3\n\nabc".to_vec(), "400 Bad Request"),
    ] {
        let mut client = Client::new(stage.address).await;
        client.send(&request).await;
        let (head, _) = client.answer().await;
        assert!(head.starts_with(&format!("HTTP/1.1 {expected}\r\n")), "{head}");
        assert_eq!(client.ending().await, Ending::Clean);
    }
}

#[tokio::test]
async fn an_api_that_hangs_up_is_said_and_a_client_that_hangs_up_is_noticed() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("perl-list.http")).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    drop(api);
    let (head, body) = client.answer().await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert_eq!(body, "the administration service closed the conversation\r\n");

    client.send(&recorded("perl-list.http")).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    drop(client);
    assert!(api.try_hear::<Request>().await.is_none());
}

#[tokio::test]
async fn the_end_of_the_l7r_ends_connections_and_run_returns() {
    let stage = Stage::new();
    let mut client = Client::new(stage.address).await;
    client.send(&recorded("perl-list.http")).await;
    let mut api = stage.api().await;
    api.hear::<Request>().await;
    stage.shutdown.cancel();
    assert_eq!(client.ending().await, Ending::Cut);
    assert!(api.try_hear::<Request>().await.is_none());
    soon("the l7r's end", stage.l7r).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err());
}
