"""What strangers may send, a kind a file: none of it stops the server, or another one's conversation."""
