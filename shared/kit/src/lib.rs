//! bk-plugin-kit
