//! The hash table behind the keyspace and every large collection.
