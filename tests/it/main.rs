//! The one test binary: stories told with real processes, real git and real files.

mod sandbox;

mod loop_of_an_agent;
