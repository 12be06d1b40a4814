"""An example of an extension: clients that say HELLO are greeted."""
