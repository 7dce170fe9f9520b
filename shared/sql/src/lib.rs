//! bk-plugin-sql
