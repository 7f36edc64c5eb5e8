//! Pure: from what is there to what shall be there. Nothing here knows a client, a clock or a socket.

pub mod isolation;
pub mod network;
pub mod pod;
pub mod resources;
