//! Says again and again what is waited for: who asked would take a long silence for our end.

use std::{io, panic, sync::mpsc, thread, time::Duration};

/// Does `work` and returns what it returned. Every word of its progress goes to `tell` at once; while
/// there is no new one, the last is repeated `every` so often. `first` is repeated before there is any.
///
/// # Errors
/// Without a thread nothing is done.
pub(super) fn repeated<T: Send>(
    first: &str,
    every: Duration,
    work: impl FnOnce(&mut dyn FnMut(&str)) -> T + Send,
    tell: &mut dyn FnMut(&str),
) -> io::Result<T> {
    let (say, said) = mpsc::channel::<String>();
    thread::scope(|scope| {
        let worker =
            thread::Builder::new().name("work".to_owned()).spawn_scoped(scope, move || {
                work(&mut |text| {
                    // Whoever hears it is there until this thread has ended.
                    let _ = say.send(text.to_owned());
                })
            })?;
        let mut last = first.to_owned();
        loop {
            match said.recv_timeout(every) {
                Ok(text) => last = text,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            tell(&last);
        }
        worker.join().or_else(|panicked| panic::resume_unwind(panicked))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_repeated_until_the_work_is_done() {
        let (hear, told) = mpsc::channel::<String>();
        // Waits until it has been told of three times, before and after its own word.
        let work = move |progress: &mut dyn FnMut(&str)| {
            let first: Vec<String> = told.iter().take(3).collect();
            progress("at work");
            let own: Vec<String> = told.iter().take(3).collect();
            [first, own].concat()
        };
        let mut tell = |text: &str| {
            let _ = hear.send(text.to_owned());
        };
        let words = repeated("to begin with", Duration::from_millis(1), work, &mut tell).unwrap();
        assert_eq!(words.first().unwrap(), "to begin with");
        assert_eq!(words.last().unwrap(), "at work");
    }
}
