//! Heads of requests, as clients of the router send them, and of answers.

use wire::{
    head::{Event, Request, RequestReader, ResponseReader},
    session::Parameters,
};

/// Reads the bytes as requests and as answers. However they arrive, the same is read.
pub fn head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let (first, second) = bytes.split_at(usize::from(*cut).min(bytes.len()));
    assert!(requests(&[bytes]) == requests(&[first, second]), "cut at {cut}");
    assert!(answers(&[bytes]) == answers(&[first, second]), "cut at {cut}");
}

fn requests(pieces: &[&[u8]]) -> Vec<Result<Request, String>> {
    let mut reader = RequestReader::default();
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.poll() {
                Ok(Some(request)) => {
                    // What the router asks of it.
                    let _ = (request.authorization(), request.upgrades(), request.has_body());
                    let _ = (request.closes(), Parameters::from_query(&request.query));
                    found.push(Ok(request));
                }
                Ok(None) => break,
                Err(error) => {
                    found.push(Err(error.to_string()));
                    return found;
                }
            }
        }
    }
    found
}

fn answers(pieces: &[&[u8]]) -> Vec<Result<Event, String>> {
    let mut reader = ResponseReader::default();
    let mut found = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.poll() {
                Ok(Some(event)) => {
                    let switched = matches!(event, Event::Switched { .. });
                    found.push(Ok(event));
                    if switched {
                        return found;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    found.push(Err(error.to_string()));
                    return found;
                }
            }
        }
    }
    found
}
