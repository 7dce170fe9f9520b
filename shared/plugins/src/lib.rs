//! bk-plugins
