"""What an image file says about its own origin, verbatim. Nothing here is checked: anyone can write
metadata.

A key names the place: `png:parameters`, `exif:Software`, `xmp:CreatorTool`, `iptc:Credit`,
`jpeg:Comment`. Its value is the text as it stands there. For privacy, only fields that describe the
origin of the picture are read, including those that credit somebody for it. GPS positions, the
camera's owner and serial numbers are never read. Metadata that cannot be read become an entry such
as `exif:error` with the reason; they never make an image fail.
"""
