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
    read(pieces, |piece| {
        reader.push(piece);
        let request = reader.poll().map_err(|error| error.to_string())?;
        if let Some(request) = &request {
            // What the router asks of it.
            let _ = (request.authorization(), request.upgrades(), request.has_body());
            let _ = (request.closes(), Parameters::from_query(&request.query));
        }
        Ok(request)
    })
}

fn answers(pieces: &[&[u8]]) -> Vec<Result<Event, String>> {
    let mut reader = ResponseReader::default();
    let mut switched = false;
    read(pieces, |piece| {
        // What follows is no answer.
        if switched {
            return Ok(None);
        }
        reader.push(piece);
        let event = reader.poll().map_err(|error| error.to_string())?;
        switched = matches!(event, Some(Event::Switched { .. }));
        Ok(event)
    })
}

/// All that is found in the pieces, up to the first error. `next` is given each once, then nothing, until
/// it finds no more.
fn read<T>(
    pieces: &[&[u8]],
    mut next: impl FnMut(&[u8]) -> Result<Option<T>, String>,
) -> Vec<Result<T, String>> {
    let mut found = Vec::new();
    for piece in pieces {
        let mut fresh = *piece;
        while let Some(one) = next(std::mem::take(&mut fresh)).transpose() {
            let failed = one.is_err();
            found.push(one);
            if failed {
                return found;
            }
        }
    }
    found
}
