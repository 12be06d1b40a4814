"""Syslog: what logger sends over TCP in each of its forms, and what other senders do."""

MATCHING: list[bytes] = [
    b'<13>1 2026-11-22T16:44:24.198595+00:00 vm app - - [timeQuality tzKnown="1" isSynced="0"] hello\n',
    b'94 <13>1 2026-11-22T16:44:24.203249+00:00 vm app - - [timeQuality tzKnown="1" isSynced="0"] hello',
    b"<13>Nov 22 16:44:24 vm app: hello\n",
    b"<34>Oct  1 22:14:15 MyMachine su[231]: 'su root' failed for lonvick on /dev/pts/8\n",
    b"<0>1 - - - - - -\n",
    b"<191>29: *Mar  1 00:29:43.411: %SYS-5-CONFIG_I: Configured from console\n",
    b"<7>debug text\n",
    b"7 <7>text7 <7>more",
    b'<165>1 2003-10-11T22:14:15.003Z mymachine.Example.com evntslog - ID47 [a@32473 b="c"] text\n',
    b"<13>" + b"x" * 2100,
]

REFUSED: list[bytes] = [
    b"<192>x",
    b"<200",
    b"<00>",
    b"<013>",
    b"<13>\n",
    b"<13>\x00",
    b"<-1>",
    b"<a>",
    b"0 <13>x",
    b"3 <13>x",
    b"94 13",
    b"94<13>x",
    b"12345678 ",
]
