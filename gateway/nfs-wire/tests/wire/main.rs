//! Properties of the whole codec, through its public API: round trips, truncation, a second
//! opinion on every type, and a short run of every fuzz target.
#![allow(clippy::unwrap_used, missing_docs)]

mod reply_strategies;
mod round_trip;
mod second_opinion;
mod second_opinion_args;
mod second_opinion_replies;
mod second_opinion_rpc;
mod short_fuzz;
mod strategies;
mod third_opinion;
