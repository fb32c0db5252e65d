"""What several servers share through a store: sessions, spent hellos, ticket keys, and the word to revoke."""
