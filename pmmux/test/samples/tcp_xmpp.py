"""XMPP: the header that slixmpp sends, and others with an XML declaration, for servers, in double quotes."""

MATCHING: list[bytes] = [
    b"<stream:stream to='example.org' xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'"
    b" xml:lang='en' version='1.0'>",
    b"<?xml version='1.0'?><stream:stream xmlns='jabber:client'"
    b" xmlns:stream='http://etherx.jabber.org/streams' version='1.0' to='Example.org.'>",
    b'<?xml version="1.0" encoding="UTF-8"?>\n<stream:stream\n  from="juliet@im.example.com"\n'
    b'  to="im.example.com"\n  version = "1.0"\n  xmlns="jabber:client"\n'
    b'  xmlns:stream="http://etherx.jabber.org/streams" >',
    b"<?xml version='1.0'?><stream:stream xmlns:stream='http://etherx.jabber.org/streams'"
    b" xmlns='jabber:server' xmlns:db='jabber:server:dialback' to='a.example' from='b.example'"
    b" version='1.0'>",
    b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>",
]

REFUSED: list[bytes] = [
    b"<stream>",
    b"<stream:stream>",
    b"<stream:streams xmlns='jabber:client'>",
    b"<stream:stream xmlns='jabber:other'>",
    b"<stream:stream xmlns=jabber:client>",
    b"<stream:stream xmlns='jabber:client'/>",
    b"<stream:stream to='<' xmlns='jabber:client'>",
    b"<?xml version='1.0'?><policy-file-request/>\x00",
    b"<?xml version='1.0'?><html>",
    b"<?xmlversion",
    b"<!DOCTYPE html>",
    b"<policy-file-request/>\x00",
    b"<stream:stream a='" + b"x" * 5000,
]
