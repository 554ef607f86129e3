//! TCP between tables and connections.
