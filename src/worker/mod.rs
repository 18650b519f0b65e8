//! The loops that do all the work, each a `tick` the service runs and tests and the simulator pump.
//!
//! The processor turns log entries into effects, the scheduler turns due timers into log entries, the dispatcher turns
//! outbox rows into messages sent.

pub mod apply;
pub mod backfill;
pub mod backup;
pub mod baseline;
mod batch;
pub mod cap_report;
pub mod computed;
pub mod dispatcher;
pub mod doctor;
pub mod effects;
pub mod engagement;
pub mod explain;
pub mod filing;
pub mod gauges;
pub mod head_count;
pub mod inclusion;
pub mod janitor;
pub mod leases;
pub mod link_check;
pub mod lists;
pub mod live;
pub mod log_pruning;
pub mod mass_entries;
pub mod membership;
pub mod observed;
pub mod past;
pub mod pause;
pub mod permission;
pub mod personal_data;
pub mod plan;
pub mod privacy;
pub mod processor;
pub mod processors;
pub mod reach;
pub mod restored;
pub mod retention;
pub mod scheduler;
pub mod secret;
pub mod service;
mod set_aside;
pub mod sharing;
mod warnings;
pub mod world;
