"""IRC: what ii sends, and the beginnings of clients with capabilities, a password, a gateway."""

MATCHING: list[bytes] = [
    b"NICK carol\r\nUSER carol localhost 127.0.0.1 :carol\r\n",
    b"PASS hunter2\r\nNICK carol\r\nUSER carol localhost 127.0.0.1 :carol\r\n",
    b"CAP LS 302\r\nNICK dan\r\nUSER dan 0 * :Dan D.\r\n",
    b"CAP LS\r\nPASS a b\r\nNICK [dan]^\r\n",
    b"CAP REQ :sasl multi-prefix\r\n",
    b"CAP END\n",
    b"USER guest 0 * :Ronnie Reagan\r\nNICK Wiz\r\n",
    b"PASS one\nPASS two\nUSER guest tolmoon tolsun Ronnie\n",
    b"NICK :j\xc3\xbcrgen\r\n",
    b"WEBIRC hunter2 gateway example.org 192.0.2.7\r\nNICK web\r\n",
]

REFUSED: list[bytes] = [
    b"USER anonymous\r\n",
    b"PASS secret\r\nSTAT\r\n",
    b"NICK\r\n",
    b"NICK 1\r\n",
    b"NICK <13\r\n",
    b"NICK a b\r\n",
    b"nick carol\r\n",
    b"CAP LSX\r\n",
    b"CAPA\r\n",
    b"PRIVMSG #a :b\r\n",
    b"PASS " + b"x" * 500,
    b"PASS x\r\n" * 400,
]
