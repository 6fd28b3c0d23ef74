//! Asking the application for tokens: one call at a time, on a thread of its own, whatever the application does in it.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::panic::AssertUnwindSafe;

use super::engine::Engine;
use super::setup::TokenProvider;
use super::sync::{Mutex, MutexGuard, PoisonError, thread};
use crate::connection::sasl::oauth::Token;
use crate::event::Input;

/// The provider, while no call is out.
pub(super) struct Tokens {
    state: Mutex<State>,
}

struct State {
    provider: Option<Box<dyn TokenProvider>>,
    /// Counts the providers that there were: what an earlier one says late is not heard.
    generation: u64,
    /// A call is out.
    out: bool,
}

impl Tokens {
    pub(super) fn new(provider: Option<Box<dyn TokenProvider>>) -> Self {
        Self { state: Mutex::new(State { provider, generation: 0, out: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks another provider from now on. Never waits for the one before, which may hang.
    pub(super) fn replace(&self, provider: Box<dyn TokenProvider>) {
        let mut state = self.lock();
        let before = state.provider.replace(provider);
        state.generation += 1;
        state.out = false;
        drop(state);
        drop(before); // without the lock: it is the application's
    }

    /// Asks for a token, unless a call is out already: its answer will do.
    pub(super) fn fetch(engine: &Arc<Engine>) {
        let mut state = engine.tokens().lock();
        if state.out {
            return;
        }
        let Some(provider) = state.provider.take() else {
            drop(state);
            answer(engine, Err("sasl.mechanism=OAUTHBEARER needs a milena::TokenProvider".to_string()));
            return;
        };
        state.out = true;
        let generation = state.generation;
        drop(state);
        let call = Call { engine: Arc::clone(engine), generation, provider: Some(provider) };
        let spawned = thread::Builder::new().name("milena-token".into()).spawn(move || call.run());
        if let Err(error) = spawned {
            log::warn!("no thread for fetching a token: {error}");
        }
    }
}

/// One call. Dropping it hands the provider back, also if there is no thread to run it on.
struct Call {
    engine: Arc<Engine>,
    generation: u64,
    provider: Option<Box<dyn TokenProvider>>,
}

impl Call {
    fn run(mut self) {
        let Some(provider) = &mut self.provider else { return };
        let token = std::panic::catch_unwind(AssertUnwindSafe(|| provider.token()));
        let token = token.unwrap_or_else(|_| Err("the TokenProvider panicked".to_string()));
        let engine = Arc::clone(&self.engine);
        if self.hand_back() {
            answer(&engine, token);
        }
    }

    /// Whether it is still this provider that is asked.
    fn hand_back(&mut self) -> bool {
        let mut state = self.engine.tokens().lock();
        if state.generation != self.generation {
            return false;
        }
        let Some(provider) = self.provider.take() else { return false };
        (state.provider, state.out) = (Some(provider), false);
        true
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.hand_back() {
            answer(&self.engine, Err("the system gives no thread to ask the TokenProvider on".to_string()));
        }
    }
}

fn answer(engine: &Engine, token: Result<Token, String>) {
    match token {
        Ok(token) => engine.input_from_outside(Input::Token(Ok(token))),
        Err(words) => engine.input_from_outside(Input::Token(Err(&words))),
    }
}
