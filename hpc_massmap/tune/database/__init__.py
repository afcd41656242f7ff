"""The trials database: a mongod of ours or somebody's server, and how to connect to it."""
