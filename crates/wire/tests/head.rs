//! The heads of real clients byte for byte, and hostile ones: both must read the same however the
//! bytes are cut, and nothing may make a reader panic or hold more than it should.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{collections::BTreeMap, fs, path::Path};

use expect_test::{Expect, expect};
use proptest::{prelude::*, sample::Index};
use wire::{
    broker::VmLine,
    head::{
        Authorization, Event, HEAD_MAX, HEADERS_MAX, Login, Request, RequestError, RequestReader,
        Response, ResponseError, ResponseReader, processing, switching, write_request,
    },
    session::Parameters,
};

/// The recorded and invented requests in `tests/corpus/head`, by file name.
fn corpus() -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/head");
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn recorded(name: &str) -> Vec<u8> {
    corpus().remove(name).unwrap()
}

type Outcome = (Vec<Request>, Result<Vec<u8>, RequestError>);

/// All requests in these bytes, then what is left or why reading ended.
fn requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut reader = RequestReader::default();
    let mut read = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.poll() {
                Ok(Some(request)) => read.push(request),
                Ok(None) => break,
                Err(error) => return (read, Err(error)),
            }
        }
    }
    (read, Ok(reader.into_rest()))
}

fn only(bytes: &[u8]) -> (Request, Vec<u8>) {
    let (mut read, rest) = requests([bytes]);
    assert_eq!(read.len(), 1);
    (read.remove(0), rest.unwrap())
}

fn ann() -> Login {
    Login { login: "ann".to_owned(), password: "pass:word".to_owned() }
}

#[test]
fn the_lists_of_the_three_clients_are_understood() {
    for name in ["perl-list.http", "libc-list.http"] {
        let (request, rest) = only(&recorded(name));
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/qvd/list_of_vm"));
        assert!(request.query.is_empty() && rest.is_empty(), "{name}");
        assert_eq!(request.authorization(), Authorization::Basic(ann()));
        assert!(!request.upgrades());
    }
    let (request, _) = only(&recorded("libc-stop.http"));
    assert_eq!((request.path.as_str(), request.query.len()), ("/qvd/stop_vm", 0));
}

#[test]
fn two_requests_in_one_go_are_two() {
    let (read, rest) = requests([recorded("qt-list-stop.http").as_slice()]);
    let paths: Vec<&str> = read.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/qvd/list_of_vm", "/qvd/stop_vm"]);
    assert_eq!(read[1].query.get("id").unwrap(), "7");
    assert!(read[1].upgrades());
    assert_eq!(rest, Ok(Vec::new()));
}

#[test]
fn a_connect_leaves_the_first_bytes_of_the_stream() {
    let (request, rest) = only(&recorded("libc-connect.http"));
    assert!(request.upgrades());
    assert_eq!(rest, b"NXPROXY-3.5.0-3.5.99 stream=default,data=default ");
    let options = Parameters::from_query(&request.query).unwrap().nx_options();
    assert_eq!(options, ["client=linux", "keyboard=pc105/en", "link=adsl", "geometry=800x600"]);
}

#[test]
fn blank_lines_behind_a_head_are_not_kept_however_they_come() {
    let mut reader = RequestReader::default();
    reader.push(&recorded("perl-connect.http"));
    reader.poll().unwrap().unwrap();
    for piece in [&b"\r"[..], b"\n", b"\r\n\r\n", b""] {
        reader.push(piece);
        assert!(!reader.has_begun());
    }
    reader.push(b"NX\r\n");
    assert!(reader.has_begun());
    assert_eq!(reader.into_rest(), b"NX\r\n");
}

#[test]
fn the_order_encoding_and_emptiness_of_parameters_do_not_matter() {
    let (request, rest) = only(&recorded("perl-connect.http"));
    assert_eq!(rest, b"", "its last line end is no part of the stream");
    assert_eq!(request.query.get("custom.note").unwrap(), "a b");
    assert_eq!(request.query.get("qvd.client.fullscreen").unwrap(), "");
    let options = Parameters::from_query(&request.query).unwrap().nx_options();
    assert_eq!(options, ["client=linux", "keyboard=pc105/es", "link=adsl", "geometry=1024x768"]);
}

#[test]
fn blank_lines_before_and_raw_blanks_inside_are_tolerated() {
    let (request, _) = only(&recorded("qt-connect-spaces.http"));
    assert_eq!(request.query.get("qvd.client.nxagent.extra_args").unwrap(), "a b é c");
    assert_eq!(request.query.get("qvd.client.os").unwrap(), "winnt");
    assert!(request.target.windows(4).any(|bytes| bytes == "b é".as_bytes()));
}

#[test]
fn folded_headers_are_joined_and_bodies_noticed() {
    let (request, rest) = only(&recorded("hostile-folded.http"));
    assert_eq!(request.path, "/a%zz%4");
    assert_eq!(request.headers.get("a"), Some("b c d"));
    assert!(request.has_body());
    assert_eq!(rest, b"hello");
}

#[test]
fn what_is_no_request_of_the_protocol_says_why() {
    for (bytes, error, status) in [
        (&b"GET / HTTP/1.0\n\n"[..], RequestError::BadVersion, 505),
        (b"GET / HTTP/2\n\n", RequestError::BadVersion, 505),
        (b"GET /\n\n", RequestError::BadVersion, 505),
        (b"GET\n\n", RequestError::BadLine, 400),
        (b" GET / HTTP/1.1\n\n", RequestError::BadLine, 400),
        (b"GET x HTTP/1.1\n\n", RequestError::BadLine, 400),
        (b"GET /\0 HTTP/1.1\n\n", RequestError::BadLine, 400),
        (b"GET / HTTP/1.1\nno colon\n\n", RequestError::BadHeader, 400),
        (b"GET / HTTP/1.1\n folded first\n\n", RequestError::BadHeader, 400),
        (b"GET / HTTP/1.1\nBlank : x\n\n", RequestError::BadHeader, 400),
        (b"GET / HTTP/1.1\nA: x\ry\n\n", RequestError::BadHeader, 400),
    ] {
        let (read, end) = requests([bytes]);
        assert_eq!((read.len(), end), (0, Err(error)), "{}", String::from_utf8_lossy(bytes));
        assert_eq!(error.status(), status);
    }
}

#[test]
fn heads_are_bounded() {
    let line = |length: usize| {
        let fixed = b"GET / HTTP/1.1\n\n".len() - 1;
        format!("GET /{} HTTP/1.1\n\n", "x".repeat(length - fixed - 1)).into_bytes()
    };
    assert_eq!(line(HEAD_MAX).len(), HEAD_MAX);
    assert_eq!(requests([line(HEAD_MAX).as_slice()]).0.len(), 1);
    let over = line(HEAD_MAX + 1);
    assert_eq!(requests([over.as_slice()]).1, Err(RequestError::TooLong));
    assert_eq!(requests(over.chunks(1)).1, Err(RequestError::TooLong));
    assert_eq!(requests([vec![b'x'; HEAD_MAX + 1].as_slice()]).1, Err(RequestError::TooLong));
    let with = |count: usize| format!("GET / HTTP/1.1\n{}\n", "a:\n".repeat(count)).into_bytes();
    assert_eq!(requests([with(HEADERS_MAX).as_slice()]).0.len(), 1);
    assert_eq!(requests([with(HEADERS_MAX + 1).as_slice()]).1, Err(RequestError::TooLong));
}

#[test]
fn credentials_are_read_tolerantly_and_shown_to_nobody() {
    let parse = |value| Authorization::parse(Some(value));
    let basic = Authorization::Basic(ann());
    for value in [
        "Basic YW5uOnBhc3M6d29yZA==",
        "basic  YW5uOnBhc3M6d29yZA",
        "BASIC YW5uOnBh c3M6d29yZA==",
        "Basic YW5uOnBhc3M6d29yZB==",
    ] {
        assert_eq!(parse(value), basic, "{value}");
    }
    let latin = Login { login: "jos\u{e9}".to_owned(), password: "x".to_owned() };
    assert_eq!(parse("Basic am9z6Tp4"), Authorization::Basic(latin));
    assert_eq!(parse("Bearer abc"), Authorization::Bearer);
    assert_eq!(Authorization::parse(None), Authorization::Missing);
    for value in ["", "Basic", "Basic YW5u", "Basic ///=/", "Digest x"] {
        assert_eq!(parse(value), Authorization::Unsupported, "{value}");
    }
    let (request, _) = only(&recorded("libc-connect.http"));
    let shown = format!("{request:?} {:?} {:?}", request.headers, request.authorization());
    assert!(!shown.contains("pass") && !shown.contains("YW5u"), "{shown}");
}

fn check(bytes: &[u8], expected: &Expect) {
    expected.assert_eq(&String::from_utf8_lossy(bytes).replace('\r', "␍"));
}

#[test]
fn answers_are_written_exactly() {
    let refusal = Response::unauthorized("no such user, or another password");
    check(
        &refusal.head(),
        &expect![[r#"
        HTTP/1.1 401 Unauthorized␍
        WWW-Authenticate: Basic realm="QVD"␍
        Content-Type: text/plain␍
        Content-Length: 35␍
        ␍
    "#]],
    );
    check(
        refusal.body(),
        &expect![[r"
        no such user, or another password␍
    "]],
    );
    check(
        &Response::text(503, "").retry_after(Some(3)).head(),
        &expect![[r"
        HTTP/1.1 503 Service Unavailable␍
        Retry-After: 3␍
        Content-Type: text/plain␍
        Content-Length: 21␍
        ␍
    "]],
    );
    check(
        &processing("Starting\r\nX-Evil: é\0 now"),
        &expect![[r"
        HTTP/1.1 102 Processing␍
        X-QVD-VM-Info: Starting  X-Evil: ?  now␍
        ␍
    "]],
    );
    check(
        &switching("abc\r\nDEF-123"),
        &expect![[r"
        HTTP/1.1 101 Switching Protocols␍
        X-QVD-Slave-Key: abcDEF123␍
        ␍
    "]],
    );
    let vm = VmLine {
        id: 7,
        name: "caf\u{e9} \u{1f600}".into(),
        state: "stopped".into(),
        blocked: true,
    };
    let list = Response::vms(&[vm]);
    check(
        list.body(),
        &expect![[
            r#"[{"id":7,"name":"caf\u00e9 \ud83d\ude00","state":"stopped","blocked":1,"is_application":0}]"#
        ]],
    );
    check(
        &list.head(),
        &expect![[r"
        HTTP/1.1 200 OK␍
        Content-Type: application/json␍
        Content-Length: 91␍
        ␍
    "]],
    );
    assert_eq!(Response::vms(&[]).body(), b"[]");
}

fn events(pieces: &[&[u8]]) -> (Vec<Event>, Result<Vec<u8>, ResponseError>) {
    let mut reader = ResponseReader::default();
    let mut read = Vec::new();
    for piece in pieces {
        reader.push(piece);
        while !matches!(read.last(), Some(Event::Switched { .. })) {
            match reader.poll() {
                Ok(Some(event)) => read.push(event),
                Ok(None) => break,
                Err(error) => return (read, Err(error)),
            }
        }
    }
    (read, Ok(reader.into_rest()))
}

#[test]
fn a_client_reads_what_a_server_writes() {
    let refusal = Response::text(409, "taken over").retry_after(None);
    let bytes = [
        processing("one"),
        refusal.head(),
        refusal.body().to_vec(),
        processing("two"),
        switching("KEY"),
        b"\r\n stream".to_vec(),
    ]
    .concat();
    for size in [1, 7, bytes.len()] {
        let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
        let (read, rest) = events(&pieces);
        assert_eq!(read.len(), 4);
        assert_eq!(read[0], Event::Processing("one".to_owned()));
        let Event::Answer(answer) = &read[1] else { panic!("{read:?}") };
        assert_eq!((answer.status, answer.text().as_str()), (409, "taken over"));
        assert_eq!(read[3], Event::Switched { slave_key: "KEY".to_owned() });
        assert_eq!(rest, Ok(b"\r\n stream".to_vec()));
    }
}

#[test]
fn answers_that_make_no_sense_are_refused() {
    let head = |length: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    for (bytes, error) in [
        ("SSH-2.0-OpenSSH\r\n\r\n".to_owned(), ResponseError::Malformed),
        ("HTTP/1.1 20 OK\r\n\r\n".to_owned(), ResponseError::Malformed),
        (head("-1"), ResponseError::Malformed),
        (head("99999999999999999999999"), ResponseError::Malformed),
        (head("1048577"), ResponseError::BodyTooLong),
        ("x".repeat(HEAD_MAX + 1), ResponseError::HeadTooLong),
    ] {
        assert_eq!(events(&[bytes.as_bytes()]).1, Err(error), "{bytes:.40}");
    }
}

/// One change to a recorded request: at a place, so many bytes gone, and these put there.
fn change() -> impl Strategy<Value = (Index, u8, Vec<u8>)> {
    let piece = prop_oneof![
        any::<Vec<u8>>(),
        prop::sample::select(vec![
            "\n",
            "\r\n",
            "\r",
            " ",
            "\t",
            ":",
            "%",
            "?",
            "&",
            "=",
            "\n\n",
            "HTTP/1.1",
            "GET /",
            "Authorization: ",
            "Content-Length: 9\n",
            "\0",
            "\u{fffd}",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (any::<Index>(), 0u8..20, piece)
}

proptest! {
    #[test]
    fn any_cutting_of_changed_recordings_reads_the_same(
        name in any::<Index>(), changes in prop::collection::vec(change(), 0..6),
        cuts in prop::collection::vec(1usize..40, 1..8),
    ) {
        let corpus = corpus();
        let mut bytes = corpus.values().nth(name.index(corpus.len())).unwrap().clone();
        for (at, gone, piece) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + usize::from(gone)).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        let whole = requests([bytes.as_slice()]);
        let mut pieces = Vec::new();
        let mut rest = bytes.as_slice();
        for size in cuts.iter().cycle() {
            if rest.is_empty() { break }
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = tail;
        }
        let cut = requests(pieces.iter().copied());
        prop_assert_eq!(cut, whole);
        for request in requests([bytes.as_slice()]).0 {
            request.authorization();
            let _ = Parameters::from_query(&request.query);
        }
        let _ = events(&pieces);
    }

    #[test]
    fn foreign_bytes_never_panic(bytes: Vec<u8>, text in ".*") {
        let _ = requests([bytes.as_slice()]);
        let _ = events(&[bytes.as_slice()]);
        Authorization::parse(Some(&text));
    }

    #[test]
    fn what_the_client_writes_the_server_reads(
        pairs in prop::collection::btree_map(".{1,12}", ".{0,30}", 0..6),
        login in "[^:]{1,20}", password in ".{0,40}", upgrade: bool,
    ) {
        let login = Login { login, password };
        let query: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let bytes = write_request("/qvd/connect_to_vm", &query, "h", Some(&login), upgrade);
        let (request, rest) = only(&bytes);
        prop_assert_eq!(request.query, pairs);
        prop_assert_eq!(request.path, "/qvd/connect_to_vm");
        prop_assert_eq!(Authorization::parse(request.headers.get("authorization")),
            Authorization::Basic(login));
        prop_assert_eq!(request.headers.lists("upgrade", "qvd/1.0"), upgrade);
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn nothing_in_a_text_adds_a_header(text in "(.|\r|\n)*") {
        let (read, rest) = events(&[&processing(&text), &switching(&text), b"!"]);
        prop_assert_eq!(read.len(), 2);
        prop_assert_eq!(rest, Ok(b"!".to_vec()));
    }
}
