"""The instruments: what makes runs of event loops, has them judged, and tells what came out."""
