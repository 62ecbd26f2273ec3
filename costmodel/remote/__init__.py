"""Remote boards: an agent on the device, a link to it, and the ways to reach it."""
