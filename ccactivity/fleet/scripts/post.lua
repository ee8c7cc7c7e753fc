-- Tell everyone something that need not be kept. ARGV 1 member, 2 kind, 3 text.
return post(ARGV[2], ARGV[1], ARGV[3])
