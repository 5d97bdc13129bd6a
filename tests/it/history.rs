//! What happened, taken back, and the plan as it was.
