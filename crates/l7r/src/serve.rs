//! Which request gets which answer.
//!
//! | path | asks the api | answers |
//! |---|---|---|
//! | `/qvd/ping` | whether this host takes users | `I am alive!`, for load balancers |
//! | `/qvd/list_of_vm` | who it is, and their VMs | the list |
//! | `/qvd/stop_vm` | to stop one | `102`s, then text |
//! | `/qvd/connect_to_vm` | to have one run | see [`crate::connect`] |
//!
//! Many requests may follow one another on a connection. Cookies mean nothing here, and what a web
//! page sends is refused: a browser would add a password it remembers.

use std::net::IpAddr;

use wire::{
    broker::{Answer, Credentials, Request as Question},
    head::{Authorization, Request, Response},
    session::Parameters,
};

use crate::{
    ask::{AskError, Asked},
    listen::Shared,
    visitor::{Leave, Visitor},
    waiting::{Interrupted, Waiting},
};

/// The longest login and the longest password, in bytes: both must fit a message to the api.
const LOGIN_MAX: usize = 1024;

/// The longest name of a connection to resume, in bytes.
const CONNECTION_MAX: usize = 128;

/// The request after whose answer the connection is closed, whatever the answer.
const CONNECT: &str = "/qvd/connect_to_vm";

const NO_SUCH_VM: &str = "The requested virtual machine does not exist";

/// Answers one request after another, until the client leaves or wants a desktop: then what it asks
/// comes back, a [`Question::Connect`].
pub(crate) async fn serve(mut visitor: Visitor, shared: &Shared) -> Option<(Visitor, Question)> {
    loop {
        let request = match visitor.request().await {
            Ok(request) => request,
            Err(Leave::Nonsense(error)) => {
                let response = Response::text(error.status(), &error.to_string());
                visitor.answer(&response).await.ok();
                visitor.close().await;
                return None;
            }
            Err(Leave::Gone) => return None,
            Err(Leave::Slow) => {
                visitor.close().await;
                return None;
            }
        };
        tracing::debug!(address = %visitor.address, path = request.path, "request");
        let answered = match question(&request, visitor.address) {
            Ok(question @ Question::Connect { .. }) => return Some((visitor, question)),
            Ok(question) => ask(&mut visitor, shared, &question).await,
            Err(Fault { response, first: None }) => Ok(response),
            Err(Fault { response, first: Some(first) }) => {
                let said = ask(&mut visitor, shared, &first).await;
                said.map(|said| if said.status() == 200 { response } else { said })
            }
        };
        let Ok(response) = answered else { return None };
        if visitor.answer(&response).await.is_err() {
            return None;
        }
        // One client of the family ends waiting for a desktop only when the connection is closed.
        // Where a body would end is open to dispute, so nothing behind it is read.
        if request.path == CONNECT || request.closes() || request.has_body() {
            visitor.close().await;
            return None;
        }
    }
}

/// Why a request is not passed on.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    response: Response,
    /// What the api is to be asked before: its no to that, as to a wrong password, is the answer.
    first: Option<Box<Question>>,
}

impl From<Response> for Fault {
    fn from(response: Response) -> Self {
        Self { response, first: None }
    }
}

impl Fault {
    /// A fault that only those hear of whose password is right.
    fn after(who: Credentials, response: Response) -> Self {
        Self { response, first: Some(Box::new(Question::List { who })) }
    }
}

/// What to ask the api, or what is wrong. The order of the checks is the protocol's.
fn question(request: &Request, address: IpAddr) -> Result<Question, Fault> {
    if !request.path.starts_with("/qvd/") {
        let text = "This is the door to QVD desktops. Connect with a QVD client";
        return Err(Response::text(404, text).into());
    }
    if ["Origin", "Sec-Fetch-Site"].iter().any(|name| request.headers.get(name).is_some()) {
        return Err(Response::text(403, "Web pages may not ask here").into());
    }
    if request.has_body() {
        return Err(Response::text(400, "A request of the QVD protocol has no body").into());
    }
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/qvd/ping") => Ok(Question::Ping),
        ("GET", "/qvd/list_of_vm") => Ok(Question::List { who: who(request, address)? }),
        ("GET", "/qvd/stop_vm") => {
            let who = who(request, address)?;
            match id(request) {
                Ok(vm) => Ok(Question::Stop { who, vm }),
                Err(response) => Err(Fault::after(who, response)),
            }
        }
        ("GET", CONNECT) => {
            let who = who(request, address)?;
            match desktop(request) {
                Ok((vm, parameters, resume)) => {
                    Ok(Question::Connect { who, vm, parameters, resume })
                }
                Err(response) => Err(Fault::after(who, response)),
            }
        }
        _ => Err(Response::text(404, "The QVD protocol has no such request").into()),
    }
}

/// Which desktop is wanted, how, and the connection to go on from.
fn desktop(request: &Request) -> Result<(i64, Parameters, Option<String>), Response> {
    if !request.upgrades() {
        let text = "Ask with the headers Connection: Upgrade and Upgrade: QVD/1.0";
        return Err(Response::text(426, text));
    }
    let vm = id(request)?.ok_or_else(|| Response::text(422, "parameter id is missing"))?;
    let parameters = Parameters::from_query(&request.query)
        .map_err(|error| Response::text(403, &error.to_string()))?;
    Ok((vm, parameters, resume(request)?))
}

/// Login and password.
fn who(request: &Request, address: IpAddr) -> Result<Credentials, Response> {
    let refuse = |text| Err(Response::unauthorized(text));
    match request.authorization() {
        Authorization::Basic(login)
            if login.login.len() <= LOGIN_MAX && login.password.len() <= LOGIN_MAX =>
        {
            Ok(Credentials {
                login: login.login,
                password: login.password,
                address: address.to_string(),
            })
        }
        Authorization::Bearer => refuse("Tokens are not taken here, log in with a password"),
        Authorization::Basic(_) | Authorization::Missing | Authorization::Unsupported => {
            refuse("Log in with your user name and password")
        }
    }
}

/// The VM asked for, if one is.
fn id(request: &Request) -> Result<Option<i64>, Response> {
    match request.query.get("id").map(|id| id.trim()) {
        None | Some("") => Ok(None),
        Some(id) => id.parse().map(Some).map_err(|_| Response::text(404, NO_SUCH_VM)),
    }
}

/// The connection to go on from, if one is named.
fn resume(request: &Request) -> Result<Option<String>, Response> {
    match request.query.get("resume").map(String::as_str) {
        None | Some("") => Ok(None),
        Some(name)
            if name.len() <= CONNECTION_MAX && name.bytes().all(|b| b.is_ascii_alphanumeric()) =>
        {
            Ok(Some(name.to_owned()))
        }
        Some(_) => Err(Response::text(422, "parameter resume is malformed")),
    }
}

/// Asks the api and answers the client.
async fn ask(
    visitor: &mut Visitor,
    shared: &Shared,
    question: &Question,
) -> Result<Response, Leave> {
    let mut waiting = match question {
        Question::Stop { .. } => Waiting::told(visitor, &shared.limits, "Stopping virtual machine"),
        _ => Waiting::silent(visitor, shared.limits.answer),
    };
    match answer(&mut waiting, shared, question).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => {
            tracing::debug!(%error, "no answer from the api");
            Ok(Response::text(503, &error.to_string()))
        }
        Err(Interrupted::TooLong) => Ok(Response::text(408, "It takes too long, try again later")),
        Err(Interrupted::Left(leave)) => Err(leave),
    }
}

async fn answer(
    waiting: &mut Waiting<'_>,
    shared: &Shared,
    question: &Question,
) -> Result<Result<Response, AskError>, Interrupted> {
    let mut asked = match waiting.until(Asked::ask(&shared.api_socket, question)).await? {
        Ok(asked) => asked,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let answer = match waiting.until(asked.next::<Answer>()).await? {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        if accepts(&answer)
            && let Some(login) = login(question)
        {
            waiting.known(login, &shared.logins);
        }
        return Ok(Ok(match (answer, question) {
            (Answer::Progress { text }, _) => {
                waiting.say(&text);
                continue;
            }
            (Answer::Refused { status, text, retry_after }, _) => {
                refusal(status, &text, retry_after)
            }
            (Answer::Done { .. }, Question::Ping) => Response::text(200, "I am alive!"),
            (Answer::Done { text }, Question::Stop { .. }) => Response::text(200, &text),
            (Answer::Vms { vms }, Question::List { .. }) => Response::vms(&vms),
            (Answer::Done { .. } | Answer::Vms { .. } | Answer::Attach { .. }, _) => {
                tracing::error!("the api gave an answer of another question");
                Response::text(500, "The administration service gave an answer of another kind")
            }
        }));
    }
}

/// Who asks, if that is said.
pub(crate) fn login(question: &Question) -> Option<&str> {
    match question {
        Question::List { who } | Question::Connect { who, .. } | Question::Stop { who, .. } => {
            Some(&who.login)
        }
        Question::Ping | Question::Resumed { .. } => None,
    }
}

/// Whether the answer is for one whose password was right.
pub(crate) fn accepts(answer: &Answer) -> bool {
    match answer {
        Answer::Refused { status, .. } => !matches!(status, 401 | 429 | 503),
        Answer::Progress { .. }
        | Answer::Done { .. }
        | Answer::Vms { .. }
        | Answer::Attach { .. } => true,
    }
}

/// The api's refusal as an answer to a client.
pub(crate) fn refusal(status: u16, text: &str, retry_after: Option<u32>) -> Response {
    let response = match status {
        401 => Response::unauthorized(text),
        400..=599 => Response::text(status, text),
        _ => Response::text(500, text),
    };
    response.retry_after(retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::head::RequestReader;

    const LOGIN: &str = "Authorization: Basic YW5uOng=\n";
    const UPGRADE: &str = "Connection: Upgrade\nUpgrade: QVD/1.0\n";

    fn asked(target: &str, headers: &str) -> Result<Question, Fault> {
        let mut reader = RequestReader::default();
        reader.push(format!("{target} HTTP/1.1\n{headers}\n").as_bytes());
        let request = reader.poll().unwrap().unwrap();
        question(&request, [192, 0, 2, 1].into())
    }

    /// The status of the answer, and whether the password must be right to hear it.
    fn fault(target: &str, headers: &str) -> (u16, bool) {
        let Fault { response, first } = asked(target, headers).unwrap_err();
        if let Some(first) = &first {
            assert_eq!(**first, Question::List { who: ann() });
        }
        (response.status(), first.is_some())
    }

    fn ann() -> Credentials {
        Credentials {
            login: "ann".to_owned(),
            password: "x".to_owned(),
            address: "192.0.2.1".to_owned(),
        }
    }

    #[test]
    fn checks_come_in_the_order_of_the_protocol() {
        let connect = "GET /qvd/connect_to_vm";
        let both = format!("{LOGIN}{UPGRADE}");
        for (target, headers, status) in [
            ("GET /", "", 404),
            ("GET /index.html", "Origin: https://x\n", 404),
            ("POST /qvd/ping", "", 404),
            ("GET /qvd/list_of_applications", LOGIN, 404),
            ("GET /qvd/ping", "Origin: https://x\n", 403),
            ("GET /qvd/list_of_vm", "sec-fetch-site: cross-site\n", 403),
            ("GET /qvd/list_of_vm", "", 401),
            ("GET /qvd/list_of_vm", "Authorization: Bearer eA==\n", 401),
            ("GET /qvd/list_of_vm", "Cookie: session=x\n", 401),
            ("GET /qvd/list_of_vm", "Authorization: Basic YW5uOng=\nContent-Length: 1\n", 400),
            (connect, "", 401),
            ("GET /qvd/stop_vm", "", 401),
        ] {
            assert_eq!(fault(target, headers), (status, false), "{target} {headers}");
        }
        for (target, headers, status) in [
            (connect, LOGIN, 426),
            (connect, &both, 422),
            ("GET /qvd/connect_to_vm?id=", &both, 422),
            ("GET /qvd/connect_to_vm?id=x&shell=1", &both, 404),
            ("GET /qvd/connect_to_vm?id=1&shell=1", &both, 403),
            ("GET /qvd/connect_to_vm?id=1&resume=../x", &both, 422),
            ("GET /qvd/stop_vm?id=9e9", LOGIN, 404),
        ] {
            assert_eq!(fault(target, headers), (status, true), "{target} {headers}");
        }
    }

    #[test]
    fn questions_carry_what_the_client_said() {
        let who = ann();
        assert_eq!(asked("GET /qvd/ping?", ""), Ok(Question::Ping));
        assert_eq!(asked("GET /qvd/list_of_vm?", LOGIN), Ok(Question::List { who: who.clone() }));
        assert_eq!(
            asked("GET /qvd/stop_vm", LOGIN),
            Ok(Question::Stop { who: who.clone(), vm: None })
        );
        let target = "GET /qvd/connect_to_vm?id=7&resume=abc&qvd.client.link=lan&custom.x=1";
        let Ok(Question::Connect { vm, resume, parameters, .. }) =
            asked(target, &format!("{LOGIN}{UPGRADE}"))
        else {
            panic!("not understood");
        };
        assert_eq!((vm, resume.as_deref()), (7, Some("abc")));
        assert_eq!(parameters.nx_options(), ["link=lan"]);
    }

    #[test]
    fn a_password_too_long_for_a_message_is_a_wrong_one() {
        use wire::head::Login;
        let login = Login { login: "ann".to_owned(), password: "\0".repeat(LOGIN_MAX + 1) };
        let header = format!("Authorization: {}\n", login.header());
        assert_eq!(fault("GET /qvd/list_of_vm", &header), (401, false));
    }

    #[test]
    fn a_status_that_is_no_refusal_is_not_passed_on() {
        assert_eq!(refusal(101, "x", None).status(), 500);
        assert_eq!(refusal(409, "x", None).status(), 409);
    }
}
